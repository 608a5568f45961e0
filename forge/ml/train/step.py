"""One optimizer step: the gradients of all its batches, each token weighing the same, clipped and applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from forge.ml.optim.clip import clip_
from forge.ml.optim.schedule import advance

if TYPE_CHECKING:
    from forge.ml.data.batch import Batch
    from forge.ml.train.run import Run

__all__ = ["Measured", "optimizer_step"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one step showed: its loss per trained token, the norm of its gradients if it is known, and its learning rate."""

    loss: float
    grad_norm: float | None
    lr: float
    tokens: int
    trained_tokens: int


def optimizer_step(run: Run, batches: list[Batch]) -> Measured:
    """Learn from the batches as if they were one: the loss is the mean over all their trained tokens."""
    trained = sum(batch.trained for batch in batches)
    lr = run.schedule.get_last_lr()[0]
    total = torch.zeros((), dtype=torch.float32, device=run.device)
    for batch in batches:
        if batch.trained:  # there is nothing to learn from, and no gradient, in any other
            total += _backward(run, batch, trained)
    norm = _clip(run) if trained else None
    # One wait for the device serves both numbers.
    loss, *rest = torch.stack([total / max(trained, 1), *([] if norm is None else [norm.float()])]).tolist()
    grad_norm = rest[0] if rest else None
    if trained:
        answers = [callback.before_update(run, loss, grad_norm) for callback in run.callbacks]  # every one is asked
        _update(run, wanted=all(answers))
    advance(run.schedule)
    return Measured(loss, grad_norm, lr, sum(batch.tokens for batch in batches), trained)


def _backward(run: Run, batch: Batch, trained: int) -> torch.Tensor:
    """Add the gradients of one batch; the sum of its losses is returned."""
    with run.clock.part("forward"), run.precision.autocast(), run.memory():
        loss = run.loss.total(batch.to(run.device))
    with run.clock.part("backward"):
        mean = loss / trained
        (mean if run.precision.scaler is None else run.precision.scaler.scale(mean)).backward()
    return loss.detach()


def _clip(run: Run) -> torch.Tensor | None:
    """Clip the gradients, and return the norm they had if it is known."""
    settings, scaler = run.settings, run.precision.scaler
    if run.fused is not None:
        return run.fused.norm()
    with run.clock.part("optimizer"):
        if scaler is not None:
            scaler.unscale_(run.optimizer)
        return clip_(run.model.parameters(), max_norm=settings.max_grad_norm, max_value=settings.max_grad_value)


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
