"""A real batch of a small run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from forge.base.errors import UsageError  # noqa: E402 - torch may be missing
from forge.ml.workbench.peek import peek_batch  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.workbench.answer import Outcome


def peek(run: str, **changes: object) -> Outcome:
    usual = {"node": "dataset", "split": "train", "whole": False, "width": 80, "colour": False, "as_json": False}
    return peek_batch(lambda _: None, run=run, **{**usual, **changes})


def test_it_is_the_batch_of_the_first_step(freeze: Callable[..., str]) -> None:
    from forge.ml.train.setup import set_up
    from forge.ml.train.stopping import Stopping

    folder = freeze("trainer.save_strategy=no")
    shown = json.loads(peek(folder, as_json=True).text)
    run = set_up(folder, Stopping())
    try:
        batches = run.loader.next()
    finally:
        run.close()
    assert [one["input_ids"] for one in shown] == [batch.input_ids.tolist() for batch in batches]
    assert [one["targets"] for one in shown] == [batch.targets.tolist() for batch in batches]
    assert [one["trained"] for one in shown] == [batch.trained for batch in batches]


def test_it_is_drawn_with_its_size(freeze: Callable[..., str]) -> None:
    lines = peek(freeze("dataset.packing=none", "dataset.overflow=truncate")).text.splitlines()
    assert lines[0] == "run: step 1 of 50"
    assert lines[3].startswith("2 x 32 tokens: 2 documents, 62 learned")
    assert "row 0 · 32 tokens, 31 learned · row " in lines[4]


def test_held_out_data_and_other_datasets(freeze: Callable[..., str]) -> None:
    folder = freeze("+other=${dataset}", "dataset.max_length=16", "++other.max_length=24")
    assert "the first batch of held_out" in peek(folder, split="held_out").text
    assert json.loads(peek(folder, as_json=True).text)[0]["shape"][1] % 16 == 0
    for node, split, says in (("tokenizer", "train", "batches are made of a dataset"), ("dataset", "tran", "train")):
        with pytest.raises(UsageError, match=says):
            peek(folder, node=node, split=split)
