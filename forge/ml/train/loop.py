"""The training loop: steps, and between them evaluations, checkpoints and whatever asks the run to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.base.errors import CheckpointError
from forge.ml.evaluate.perplexity import evaluate
from forge.ml.parallel.context import sequence_piece
from forge.ml.train.agree import agree
from forge.ml.train.saving import save
from forge.ml.train.step import take_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.ml.data.batch import Batch
    from forge.ml.train.run import Run

__all__ = ["train"]

_HEEDED: Final = 4  # batches of an evaluation between two looks at what is asked for


def train(run: Run) -> None:
    """Take steps until there are no more, or until the run is asked to stop; what it has learned is saved at the end.

    What is due after a step is done before the next one, so that a run that was stopped in between does it when it is resumed.
    """
    run.tell("begin")
    try:
        with run.progress:
            while True:
                requested = agree(run)
                if _evaluation_due(run):
                    _evaluate(run)
                if requested or _save_due(run):
                    _save(run, urgent=requested)
                if run.stopping.asked or run.step >= run.total_steps:
                    break
                _step(run)
        if run.step > max(run.counts.saved_step, 0) and (run.settings.save_strategy != "no" or run.interrupted):
            _save(run, urgent=True)
        run.patience.long("checkpoint")
        run.saver.wait()
    except Exception:
        _finish_saving(run)
        raise
    finally:
        run.tell("end")


def _step(run: Run) -> None:
    record = take_step(run)
    run.patience.stepped(run.step)
    if run.step % run.settings.logging_steps == 0 or run.step in {1, run.total_steps}:
        run.metrics.write(record)
    run.progress.step(record)


def _evaluation_due(run: Run) -> bool:
    settings, counts = run.settings, run.counts
    if not run.evaluations or run.interrupted:
        return False
    if run.step == counts.evaluated_step:  # 0 also when there was no evaluation yet
        return settings.eval_on_start and counts.evaluated_loss is None
    return _due(run, settings.eval_strategy, settings.eval_steps, counts.evaluated_epochs)


def _save_due(run: Run) -> bool:
    settings, counts = run.settings, run.counts
    if run.step == counts.saved_step:
        return False
    if run.step == 0:
        return settings.save_on_start and not run.interrupted
    return _due(run, settings.save_strategy, settings.save_steps, counts.saved_epochs)


def _due(run: Run, strategy: str, steps: int | None, epochs: int) -> bool:
    if strategy == "no":
        return False
    if run.finished:
        return True
    return int(run.epoch) > epochs if strategy == "epoch" else run.step % (steps or 1) == 0


def _evaluate(run: Run) -> None:
    """Evaluate on every held-out set; a request to stop ends it early, and it is done again when the run is resumed."""
    records = []
    run.patience.evaluating()
    for name, batches in run.evaluations.items():
        found = evaluate(run.loss, _until_stopped(run, batches()), run.device, run.precision, run.world)
        if run.interrupted:
            return
        records.append({"step": run.step, "epoch": round(run.epoch, 4), "dataset": name, **found})
    for record in records:
        run.metrics.write(record)
        run.progress.evaluated(record)
    tokens = sum(record["tokens"] for record in records)
    mean = sum(record["eval_loss"] * record["tokens"] for record in records) / tokens
    run.best.offer(mean, run.step)
    run.counts.evaluated_step, run.counts.evaluated_epochs, run.counts.evaluated_loss = run.step, int(run.epoch), mean
    run.tell("after_evaluation", records)


def _until_stopped(run: Run, batches: Iterator[Batch]) -> Iterator[Batch]:
    for number, batch in enumerate(batches, start=1):
        if number % _HEEDED == 0:  # every process has as many batches
            _heed(run)
        if run.interrupted:
            return
        run.patience.mark("evaluation")
        yield sequence_piece(batch, run.world)


def _heed(run: Run) -> None:
    """Do what somebody asks for; an evaluation may take long."""
    run.tell("during_evaluation")
    if agree(run):
        _save(run, urgent=True)
        run.patience.evaluating()


def _save(run: Run, *, urgent: bool) -> None:
    run.counts.saved_step, run.counts.saved_epochs = run.step, int(run.epoch)
    run.patience.long("checkpoint")
    with run.clock.between("checkpoint"):
        save(run, run.saver, urgent=urgent)


def _finish_saving(run: Run) -> None:
    """What was being saved when the run failed is still worth having."""
    try:
        run.saver.wait()
    except CheckpointError as error:
        run.progress.say(f"error: {error}")
