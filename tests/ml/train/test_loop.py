"""The loop: what is due after which step, why it ends, and what is left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from small_run import Interrupt  # noqa: E402 - torch may be missing

from forge.base.errors import CheckpointError, RunError  # noqa: E402 - as above
from forge.ml.checkpoint.store import Store  # noqa: E402 - as above
from forge.ml.train import loop  # noqa: E402 - as above
from forge.ml.train.callback import Callback  # noqa: E402 - as above
from forge.ml.train.clock import PARTS  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.ml.train.run import Run

    Carried = Callable[..., Run]

EVALUATED = "trainer.eval_strategy=steps"


class Told(Callback):
    """What a callback is told, in order."""

    def __init__(self) -> None:
        self.moments: list[Any] = []

    def begin(self, run: Run) -> None:
        self.moments.append(("begin", run.step))

    def before_step(self, run: Run) -> None:
        assert run.batch
        self.moments.append(("before", run.step))

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        assert record["step"] == run.step
        self.moments.append(("after", run.step))

    def after_evaluation(self, run: Run, records: list[dict[str, Any]]) -> None:
        self.moments.append(("evaluated", run.step, [record["dataset"] for record in records]))

    def end(self, run: Run) -> None:
        self.moments.append(("end", run.step))

    @property
    def evaluated(self) -> list[int]:
        return [moment[1] for moment in self.moments if moment[0] == "evaluated"]


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - what a callback is given
        if run.step == self.step:
            run.stop("it is good enough")


class FailAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def before_step(self, run: Run) -> None:
        if run.step == self.step:
            raise RuntimeError("the sky fell")


def saved(run: Run) -> list[int]:
    return [one.step for one in Store(Path(run.settings.output_dir, "checkpoints")).list() if one.valid]


def losses(monkeypatch: pytest.MonkeyPatch, *found: float, tokens: int = 10) -> None:
    """Let the evaluations of a run find these losses, one after another."""
    coming = iter(found)

    def evaluate(*_: Any) -> dict[str, Any]:
        return {"eval_loss": next(coming), "perplexity": 1.0, "tokens": tokens}

    monkeypatch.setattr(loop, "evaluate", evaluate)


def test_the_loop_is_short() -> None:
    assert len(Path(loop.__file__).read_text().splitlines()) < 150


def test_each_moment_is_told_in_its_order(carried: Carried) -> None:
    told = Told()
    carried("trainer.max_steps=2", EVALUATED, "trainer.eval_steps=1", callbacks=(told,))
    assert told.moments == [
        ("begin", 0),
        ("before", 0),
        ("after", 1),
        ("evaluated", 1, ["held_out"]),
        ("before", 1),
        ("after", 2),
        ("evaluated", 2, ["held_out"]),
        ("end", 2),
    ]


def test_evaluated_and_saved_every_so_many_steps_and_at_the_end(carried: Carried) -> None:
    told = Told()
    steps = ("trainer.max_steps=8", "trainer.eval_steps=3", "trainer.save_steps=5")
    run = carried(EVALUATED, *steps, callbacks=(told,))
    assert told.evaluated == [3, 6, 8]
    assert saved(run) == [5, 8]


def test_evaluated_before_the_first_step_where_that_is_asked_for_and_not_again_when_resumed(
    carried: Carried, records: Callable[[Run], list[dict[str, Any]]]
) -> None:
    first, again = Told(), Told()
    run = carried("trainer.eval_on_start=true", callbacks=(first, Interrupt(2, "after")))
    assert first.moments[:3] == [("begin", 0), ("evaluated", 0, ["held_out"]), ("before", 0)]
    assert [record["step"] for record in records(run) if "eval_loss" in record] == [0]
    carried("trainer.eval_on_start=true", "trainer.resume_from_checkpoint=auto", callbacks=(again,))
    assert (first.evaluated, again.evaluated) == ([0], [])


def test_saved_before_the_first_step_where_that_is_asked_for_and_not_again_when_resumed(carried: Carried) -> None:
    start = ("trainer.save_on_start=true", "trainer.save_steps=100")
    run = carried(*start, callbacks=(Interrupt(1, "after"),))
    assert saved(run) == [0, 1]
    first = Path(run.settings.output_dir, "checkpoints", "checkpoint-0")
    before = first.stat().st_ino
    again = carried(*start, f"trainer.resume_from_checkpoint={first}")
    assert saved(again)[-1] == again.total_steps
    assert first.stat().st_ino == before


def test_what_is_due_at_the_last_step_is_done_once(carried: Carried) -> None:
    told = Told()
    run = carried(EVALUATED, "trainer.eval_steps=2", "trainer.save_steps=2", callbacks=(told,))
    assert told.evaluated == [2, 4]
    assert saved(run) == [2, 4]


def test_evaluated_and_saved_as_each_epoch_ends(carried: Carried, records: Callable[..., Any]) -> None:
    told = Told()
    run = carried(
        "trainer.max_steps=-1",
        "trainer.num_train_epochs=2",
        "trainer.per_device_train_batch_size=8",
        "trainer.eval_strategy=epoch",
        "trainer.save_strategy=epoch",
        "trainer.logging_steps=1",
        callbacks=(told,),
    )
    epochs = {one["step"]: one["epoch"] for one in records(run) if "loss" in one}
    ends = [step for step in epochs if int(epochs[step]) > int(epochs.get(step - 1, 0))]
    assert len(ends) == 2
    assert run.step == ends[-1] == run.total_steps
    assert told.evaluated == ends
    assert saved(run) == ends


def test_no_strategy_means_neither(carried: Carried) -> None:
    told = Told()
    run = carried("trainer.save_strategy=no", "trainer.eval_strategy=no", callbacks=(told,))
    assert told.evaluated == []
    assert run.step == 4
    assert not os.path.exists(run.settings.output_dir)


def test_a_callback_that_ends_the_run_has_it_evaluated_and_saved(carried: Carried) -> None:
    told = Told()
    run = carried("trainer.max_steps=50", EVALUATED, "trainer.eval_steps=40", callbacks=(told, StopAt(3)))
    assert run.step == 3
    assert told.evaluated == [3]
    assert saved(run) == [3]
    assert not run.stopping.interrupted
    assert run.stopping.reason == "it is good enough"
    assert told.moments[-1] == ("end", 3)


def test_the_best_model_is_kept(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, 3.0, 1.0, 2.0, 4.0, 5.0, 6.0)
    every = (EVALUATED, "trainer.eval_steps=1", "trainer.save_steps=1")
    run = carried("trainer.max_steps=6", *every, "trainer.save_total_limit=3")
    assert (run.best.loss, run.best.step) == (1.0, 2)
    assert saved(run) == [2, 5, 6]
    best = [one for one in Store(Path(run.settings.output_dir, "checkpoints")).list() if one.best]
    assert [(one.step, one.score.value) for one in best] == [(2, 1.0)]


def test_a_loss_that_is_no_number_is_never_the_best_and_does_not_end_the_run(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = float("nan")
    losses(monkeypatch, nan, 2.0, nan, 3.0)
    run = carried(EVALUATED, "trainer.eval_steps=1", "trainer.save_steps=1")
    assert (run.best.loss, run.best.step) == (2.0, 2)
    assert saved(run) == [1, 2, 3, 4]


def test_several_held_out_sets_count_by_their_tokens(
    made: Callable[..., Run], records: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(EVALUATED, "trainer.eval_steps=4")
    (batches,) = run.evaluations.values()
    run.evaluations = {"small": batches, "large": batches}
    found = iter(
        [{"eval_loss": 4.0, "tokens": 10, "perplexity": 1.0}, {"eval_loss": 1.0, "tokens": 90, "perplexity": 1.0}]
    )
    monkeypatch.setattr(loop, "evaluate", lambda *_: next(found))
    loop.train(run)
    assert run.best.loss == pytest.approx(1.3)
    assert [one["dataset"] for one in records(run) if "eval_loss" in one] == ["small", "large"]


def test_an_evaluation_that_was_interrupted_is_made_after_the_resume(
    carried: Carried, records: Callable[..., Any]
) -> None:
    every = ("trainer.max_steps=6", EVALUATED, "trainer.eval_steps=3")
    first, again = Told(), Told()
    run = carried(*every, callbacks=(first, Interrupt(3, "evaluation")))
    assert run.step == 3
    assert first.evaluated == []
    assert not any("eval_loss" in one for one in records(run))
    assert saved(run) == [3]
    resumed = carried(*every, "trainer.resume_from_checkpoint=auto", callbacks=(again,))
    assert again.evaluated == [3, 6]
    assert again.moments[1][0] == "evaluated"  # before the next step
    assert resumed.step == 6


def test_a_run_that_is_interrupted_is_saved_and_not_evaluated(carried: Carried) -> None:
    told = Told()
    run = carried(EVALUATED, "trainer.eval_steps=2", callbacks=(told, Interrupt(2, "middle")))
    assert run.step == 2
    assert told.evaluated == []
    assert saved(run) == [2]


def test_a_run_that_failed_has_told_the_end_and_finished_what_it_was_saving(
    carried: Carried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge.ml.checkpoint.stage import Stage

    commit = Stage.commit

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.3)
        return commit(*arguments)

    monkeypatch.setattr(Stage, "commit", slowly)
    told = Told()
    with pytest.raises(RuntimeError, match="the sky fell"):
        carried("trainer.save_steps=2", callbacks=(told, FailAt(2)))
    assert told.moments[-1] == ("end", 2)
    assert [one.step for one in Store(tmp_path / "out" / "checkpoints").list() if one.valid] == [2]


def test_a_run_that_failed_says_also_what_it_could_not_save(
    carried: Carried, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge.ml.checkpoint.stage import Stage

    def full(*_: Any) -> Any:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(Stage, "commit", full)
    with pytest.raises(RuntimeError, match="the sky fell"):
        carried("trainer.save_steps=2", callbacks=(FailAt(2),))
    assert "the disk is full" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_written_ends_the_run(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge.ml.checkpoint.stage import Stage

    def full(*_: Any) -> Any:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(Stage, "commit", full)
    with pytest.raises(RunError, match="the disk is full"):
        carried()
    run = carried("trainer.on_save_error=warn")
    assert run.step == 4


def test_it_does_so_before_the_next_checkpoint_is_due(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge.ml.checkpoint.stage import Stage

    def full(*_: Any) -> Any:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(Stage, "commit", full)
    told = Told()
    with pytest.raises(RunError, match="the disk is full"):
        carried("trainer.save_on_start=true", "trainer.save_steps=400", "trainer.max_steps=400", callbacks=(told,))
    assert told.moments[-1][0] == "end"
    assert told.moments[-1][1] < 200


def test_each_line_of_the_figures(carried: Carried, records: Callable[..., Any]) -> None:
    run = carried("trainer.max_steps=5", "trainer.logging_steps=3", EVALUATED, "trainer.eval_steps=4")
    found = records(run)
    steps = [one for one in found if "loss" in one]
    assert [one["step"] for one in steps] == [1, 3, 5]
    assert set(steps[0]) == {
        *("step", "epoch", "loss", "grad_norm", "lr", "tokens", "trained_tokens"),
        *("tokens_per_second", "trained_tokens_per_second", "seconds", "memory"),
    }
    assert steps[-1]["tokens"] == run.counts.tokens
    assert steps[-1]["trained_tokens"] == run.counts.trained_tokens
    assert all(one["memory"] > 1 << 20 for one in steps)
    evaluations = [one for one in found if "eval_loss" in one]
    assert [one["step"] for one in evaluations] == [4, 5]
    assert set(evaluations[0]) == {"step", "epoch", "dataset", "eval_loss", "perplexity", "tokens"}


class Slow(Callback):
    """Takes its time inside each step."""

    def __init__(self) -> None:
        self.tokens: dict[int, tuple[int, int]] = {}

    def before_step(self, run: Run) -> None:
        time.sleep(0.02)
        self.tokens[run.step + 1] = (
            sum(batch.tokens for batch in run.batch),
            sum(batch.trained for batch in run.batch),
        )


def test_the_parts_of_a_step_are_all_of_its_time(carried: Carried, records: Callable[..., Any]) -> None:
    slow = Slow()
    began = time.perf_counter()
    run = carried("trainer.logging_steps=1", "trainer.save_steps=2", callbacks=(slow,))
    whole = time.perf_counter() - began
    steps = [one for one in records(run) if "loss" in one]
    total = 0.0
    for one in steps:
        assert tuple(one["seconds"]) == PARTS
        spent = sum(one["seconds"].values())
        assert one["seconds"]["other"] >= 0.02  # what no part claims is not lost
        assert min(one["seconds"][part] for part in ("data", "forward", "backward", "optimizer")) > 0
        tokens, trained = slow.tokens[one["step"]]
        assert one["tokens_per_second"] == pytest.approx(tokens / spent)
        assert one["trained_tokens_per_second"] == pytest.approx(trained / spent)
        total += spent
    assert total < whole
    # The second step was saved before the third began, which waited for that.
    assert [one["seconds"]["checkpoint"] > 0 for one in steps] == [False, False, True, False]


def test_the_totals_go_on_after_a_resume(carried: Carried, records: Callable[..., Any]) -> None:
    every = ("trainer.logging_steps=1",)
    first = carried(*every, callbacks=(Interrupt(2, "after"),))
    second = carried(*every, "trainer.resume_from_checkpoint=auto")
    before, after = records(first), records(second)
    assert after[0] == {
        "event": "resumed",
        "step": 2,
        "checkpoint": str(Path(first.settings.output_dir, "checkpoints", "checkpoint-2")),
    }
    assert [one["step"] for one in after[1:]] == [3, 4]
    assert after[1]["tokens"] > before[-1]["tokens"]
    assert after[1]["epoch"] > before[-1]["epoch"]


@pytest.fixture(autouse=True)
def _no_run_is_left_behind() -> Iterator[None]:
    import threading

    before = set(threading.enumerate())
    yield
    left = [one.name for one in threading.enumerate() if one not in before and one.name.startswith("forge-")]
    assert left == []
