"""By sizes: what a layout cannot divide. More of them stand in test_capability.py, with what is offered instead."""

from __future__ import annotations

from forge.plan.asked import RunQuestion
from forge.plan.layout import Layout
from forge.plan.objections import size_objections
from forge.plan.shape import ModelShape

SHAPE = ModelShape(
    model_type="llama", layers=2, hidden=32, heads=4, kv_heads=2, head_dim=8, ffn=64, vocab=300, positions=64
)


def test_rows_are_no_longer_than_the_positions() -> None:
    asked = RunQuestion(shape=SHAPE, layout=Layout(), ranks=1, sequence_length=65)
    (found,) = size_objections(asked)
    assert found.reason == "rows of 65 tokens are longer than the 64 positions that the model knows"
    assert found.nearest == ("dataset.max_length=64",)


def test_of_a_model_that_is_not_known_no_size_is_judged() -> None:
    asked = RunQuestion(shape=None, layout=Layout(tp=3, pp=9, pp_schedule="1f1b", microbatches=9, cp=7), ranks=189)
    assert list(size_objections(asked)) == []
