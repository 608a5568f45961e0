"""One step: its batches, the gradients of all of them, each token weighing the same, clipped and applied; and its figures."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from forge.ml.optim.clip import clip_
from forge.ml.optim.schedule import advance
from forge.ml.parallel.batches import last_of_step
from forge.ml.parallel.context import sequence_piece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.ml.data.batch import Batch
    from forge.ml.train.run import Run

__all__ = ["Measured", "optimizer_step", "take_step"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one step showed: its loss per trained token, the norm of its gradients if it is known, and its learning rate."""

    loss: float
    grad_norm: float | None
    lr: float
    tokens: int
    trained_tokens: int


def take_step(run: Run) -> dict[str, Any]:
    """Take the next step, and return what was measured of it."""
    run.clock.start()
    with run.clock.part("data"):
        run.batch = [sequence_piece(batch, run.world) for batch in run.loader.next()]
    run.tell("before_step")
    torch.manual_seed(run.world.seed(run.settings.seed, run.step))
    measured = optimizer_step(run, run.batch)
    run.counts.step += 1
    run.counts.tokens += measured.tokens
    run.counts.trained_tokens += measured.trained_tokens
    record = _record(run, measured)
    run.tell("after_step", record)
    return record


def _record(run: Run, measured: Measured) -> dict[str, Any]:
    seconds = run.clock.stop()
    whole = sum(seconds.values())
    return {
        "step": run.step,
        "epoch": round(run.epoch, 4),
        "loss": measured.loss,
        "grad_norm": measured.grad_norm,
        "lr": measured.lr,
        "tokens": run.counts.tokens,
        "trained_tokens": run.counts.trained_tokens,
        "tokens_per_second": measured.tokens / whole,
        "trained_tokens_per_second": measured.trained_tokens / whole,
        "seconds": seconds,
        "memory": run.peak_memory(),
    }


def optimizer_step(run: Run, batches: list[Batch]) -> Measured:
    """Learn from the batches of all processes as if they were one: the loss is the mean over all their trained tokens."""
    counted = run.world.sum([sum(batch.trained for batch in batches), sum(batch.tokens for batch in batches)], "data")
    trained, tokens = map(int, counted)
    lr = run.schedule.get_last_lr()[0] * run.changes.lr_scale
    with run.changes.rates(run.optimizer):
        total = _learn(run, batches, trained) if trained else torch.zeros(())
        norm = _clip(run) if trained else None
        # One wait for the device serves both numbers.
        loss, *rest = torch.stack([total / max(trained, 1), *([] if norm is None else [norm.float()])]).tolist()
        run.own_loss = loss
        (loss,) = run.world.sum([loss], "loss")
        grad_norm = rest[0] if rest else None
        if trained:
            answers = [callback.before_update(run, loss, grad_norm) for callback in run.callbacks]  # every one is asked
            _update(run, wanted=all(answers))
    advance(run.schedule)
    return Measured(loss, grad_norm, lr, tokens, trained)


def _learn(run: Run, batches: list[Batch], trained: int) -> torch.Tensor:
    """Add the gradients of the batches; the sum of their losses is returned."""
    if run.world.layout.pp > 1:
        return run.loss.learn(batches, trained, partial(_forward, run), partial(run.clock.part, "backward"))
    total = torch.zeros((), dtype=torch.float32, device=run.device)
    for number, batch in enumerate(batches, 1):
        # Of a batch without a trained token there is no gradient; but where others wait for this process, it goes with them.
        if batch.trained or not run.world.alone:
            last_of_step(run.model, run.world, last=number == len(batches))
            total += _backward(run, batch, trained)
    return total


def _backward(run: Run, batch: Batch, trained: int) -> torch.Tensor:
    """Add the gradients of one batch; the sum of its losses is returned."""
    with _forward(run):
        loss = run.loss.total(batch.to(run.device))
    with run.clock.part("backward"):
        mean = loss / trained
        (mean if run.precision.scaler is None else run.precision.scaler.scale(mean)).backward()
    return loss.detach()


@contextmanager
def _forward(run: Run) -> Iterator[None]:
    """What a forward pass runs in."""
    with run.clock.part("forward"), run.precision.autocast(), run.memory():
        yield


def _clip(run: Run) -> torch.Tensor | None:
    """Clip the gradients, and return the norm they had if it is known."""
    settings, scaler = run.settings, run.precision.scaler
    if run.fused is not None:
        return run.fused.norm()
    with run.clock.part("optimizer"):
        if scaler is not None:
            scaler.unscale_(run.optimizer)
        return clip_(
            run.model.parameters(), max_norm=settings.max_grad_norm, max_value=settings.max_grad_value, world=run.world
        )


def _update(run: Run, *, wanted: bool) -> None:
    """Apply the gradients, if that is wanted; an optimizer inside the backward pass has done so already."""
    scaler = run.precision.scaler
    if run.fused is not None:
        return
    with run.clock.part("optimizer"):
        if wanted:
            run.optimizer.step() if scaler is None else scaler.step(run.optimizer)
        if scaler is not None:
            scaler.update()
        run.optimizer.zero_grad(set_to_none=True)
