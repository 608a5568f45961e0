"""By sizes: what a layout cannot divide. More of them stand in test_capability.py, with what is offered instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forge.plan.asked import RunQuestion
from forge.plan.layout import Layout
from forge.plan.objections import size_objections
from forge.plan.pipeline import timeline
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


def rounds(pp: int, microbatches: int, **more: int) -> RunQuestion:
    layout = Layout(pp=pp, pp_schedule="interleaved_1f1b", microbatches=microbatches, stages_per_rank=2)
    return RunQuestion(shape=None, layout=layout, ranks=pp, **more)


@pytest.mark.parametrize(("microbatches", "accumulation", "legal"), [(3, 3, False), (5, 5, False), (5, 2, True)])
def test_the_rounds_of_a_step_are_those_of_all_its_batches(
    microbatches: int, accumulation: int, *, legal: bool
) -> None:
    assert (list(size_objections(rounds(2, microbatches, accumulation=accumulation))) == []) == legal


def test_what_is_offered_for_the_rounds_knows_the_accumulation() -> None:
    (found,) = size_objections(rounds(2, 3, accumulation=3, batch_size=3))
    assert found.what == "9 microbatches (3 of each of 3 accumulated batches) do not make 4 equal rounds"
    assert found.nearest == ("parallel.microbatches=4 trainer.per_device_train_batch_size=4",)
    # 5 microbatches alone make no equal rounds, and twice 5 do.
    (found,) = size_objections(rounds(2, 3, accumulation=2, batch_size=5))
    assert found.nearest == ("parallel.microbatches=5", "trainer.per_device_train_batch_size=6")


@pytest.mark.parametrize("pp", [2, 3, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 3, 5])
def test_what_is_let_by_is_never_waited_for(pp: int, accumulation: int) -> None:
    for microbatches in range(pp, 4 * pp):
        asked = rounds(pp, microbatches, accumulation=accumulation)
        if not list(size_objections(asked)):
            assert timeline(replace(asked.layout, microbatches=microbatches * accumulation))
