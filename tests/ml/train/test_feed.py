"""The data of a run, and how long it takes to go through it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from forge.ml.train.feed import padding_token  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Make = Callable[..., Run]

QUIET = "trainer.save_strategy=no"


@pytest.mark.parametrize(
    ("pad", "end", "expected"), [(0, 2, 0), (5, 2, 5), (None, 2, 2), (None, 0, 0), (None, None, 0)]
)
def test_the_token_that_fills_up_a_row(pad: int | None, end: int | None, expected: int) -> None:
    assert padding_token(SimpleNamespace(pad_token_id=pad, eos_token_id=end)) == expected


def test_what_was_read_is_told_on_one_line(made: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made(QUIET)
    lines = capsys.readouterr().err.splitlines()
    assert "data: 15 examples in 57 sequences, 1,799 tokens of which 1,784 are trained" in lines


def test_rows_that_cannot_be_used_are_told_and_the_others_are_learned(
    made: Make, rows_file: Callable[..., str], turn: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made(
        QUIET,
        rows_file(turn(), {"messages": []}, turn(), {"messages": "[red]none[/red]"}),
        "trainer.eval_strategy=steps",
        config="chat",
    )
    said = capsys.readouterr().err
    assert "data: 2 examples in 2 sequences" in said
    assert "rows.jsonl:2" in said
    assert "rows.jsonl:4" in said
    assert "nothing is evaluated: no rows are held out; dataset.held_out=0.05 takes one in twenty" in said


def test_rows_that_are_held_out_and_cannot_be_used_are_told_too(
    made: Make, rows_file: Callable[..., str], turn: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_file(turn(), {"messages": []}).partition("=")[2]
    held_out = f"+dataset.held_out={{_target_: forge.ml.data.read.file_rows, paths: {rows}}}"
    made(QUIET, held_out, "trainer.eval_strategy=steps", config="chat")
    said = capsys.readouterr().err
    assert "held-out set held_out: 1 of 2 rows not used: no messages; the first is row 1 (" in said
    assert "rows.jsonl:2" in said


def test_a_run_that_asks_for_no_evaluation_is_not_told_that_there_is_none(
    made: Make, rows_file: Callable[..., str], turn: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made(QUIET, rows_file(turn()), "trainer.eval_strategy=no", config="chat")
    assert "nothing is evaluated" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (("trainer.max_steps=7",), 7),
        (("trainer.max_steps=7", "trainer.num_train_epochs=1"), 7),  # steps before epochs
        (("trainer.max_steps=-1",), 15),  # 57 sequences, four in a step
        (("trainer.max_steps=-1", "trainer.num_train_epochs=2"), 29),
        (("trainer.max_steps=-1", "trainer.num_train_epochs=0.5"), 8),
        (("trainer.max_steps=-1", "trainer.per_device_train_batch_size=100"), 1),
        (("trainer.max_steps=-1", "trainer.gradient_accumulation_steps=1"), 29),
    ],
)
def test_how_many_steps_a_run_takes(made: Make, overrides: tuple[str, ...], steps: int) -> None:
    assert made(QUIET, *overrides).total_steps == steps


@pytest.mark.parametrize(("epochs", "told"), [("1", False), ("2.5", True)])
def test_epochs_that_are_not_looked_at_are_told(
    made: Make, capsys: pytest.CaptureFixture[str], epochs: str, *, told: bool
) -> None:
    assert (
        made("trainer.max_steps=3", f"trainer.num_train_epochs={epochs}", "trainer.save_strategy=no").total_steps == 3
    )
    said = "max_steps=3 says how long the run is; num_train_epochs=2.5 is not looked at"
    assert (said in " ".join(capsys.readouterr().err.split())) == told


def test_a_stream_goes_by_steps(made: Make) -> None:
    run = made(QUIET, "+dataset.train.streaming=true", config="chat")
    assert run.total_steps == 4
    assert run.loader.steps_per_epoch is None
    assert sum(len(batch.ids) for batch in run.loader.next()) == 4


def test_the_batches_are_as_large_as_the_settings_say(made: Make) -> None:
    run = made(QUIET, "trainer.per_device_train_batch_size=3", "trainer.gradient_accumulation_steps=5")
    batches = run.loader.next()
    assert [len(batch.input_ids) for batch in batches] == [3] * 5


def test_each_evaluation_goes_through_its_whole_set_again(made: Make) -> None:
    run = made(QUIET, "trainer.per_device_eval_batch_size=5")
    (batches,) = run.evaluations.values()
    first, second = [[batch.ids for batch in batches()] for _ in range(2)]
    assert first == second
    # The ten documents whose names begin with 0.
    assert {example for ids in first for _, example in ids} == set(range(10))
    assert max(len(batch.input_ids) for batch in batches()) == 5


def test_another_seed_is_another_order(made: Make) -> None:
    found = [[batch.ids for batch in made(QUIET, f"trainer.seed={seed}").loader.next()] for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]
