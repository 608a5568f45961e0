"""One training step on random tokens: whether a model can be trained as a config says, and what that takes."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from forge.ml.data.batch import Batch
from forge.ml.loss import CausalLoss
from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.precision import choose_precision
from forge.ml.models.simulation import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from forge.ml.models.simulation import StepSettings

__all__ = ["SmokeStep", "smoke_step"]

_SEED = 0


@dataclass(slots=True)
class SmokeStep:
    """What came of a step. `guess` is the loss of a model that holds all tokens for equally likely."""

    described: str
    vocabulary: int
    guess: float
    loss: float = math.nan
    loss_after: float = math.nan
    gradient_norm: float = math.nan
    seconds: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    peak_of: str = ""
    problems: list[str] = field(default_factory=list)


def smoke_step(model: nn.Module, settings: StepSettings, say: Callable[[str], None] = lambda _: None) -> SmokeStep:
    """Take a step, and look at the loss before it and after it. `problems` name what is not finite.

    `say` hears what is about to be done, for each part of the step is long where the model is large.
    """
    device = next(model.parameters()).device
    precision = choose_precision(settings.mixed_precision, device, next(model.parameters()).dtype)
    found = SmokeStep(f"{device}: {settings.described}", model.config.vocab_size, math.log(model.config.vocab_size))
    model.train()
    checkpoint_blocks(model, settings.gradient_checkpointing)
    batch, loss = _random_batch(model, settings), CausalLoss(model, kind=settings.loss)
    optimizer = make_optimizer(model, settings)
    say(f"forward: {found.described}, {settings.batch_size * settings.sequence:,} random ones")
    with _timed(found, "forward", device), precision.autocast():
        before = loss.total(batch) / batch.trained
    found.loss = before.item()
    say("backward")
    with _timed(found, "backward", device):
        before.backward()
    found.gradient_norm = _norm(model)
    _look(found, "gradient", ((name, p.grad) for name, p in model.named_parameters() if p.grad is not None))
    say("optimizer step")
    with _timed(found, "optimizer", device):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    _look(found, "weight after the step", model.named_parameters())
    say("forward again, for the loss after the step")
    with torch.no_grad(), precision.autocast():
        found.loss_after = (loss.total(batch) / batch.trained).item()
    _look_at_losses(found)
    found.peak, found.peak_of = _peak(device)
    return found


def _random_batch(model: nn.Module, settings: StepSettings) -> Batch:
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(_SEED)
    shape = (settings.batch_size, settings.sequence + 1)
    tokens = torch.randint(model.config.vocab_size, shape, generator=generator).to(device)
    positions = torch.arange(settings.sequence, device=device).expand(settings.batch_size, -1)
    count = settings.batch_size * settings.sequence
    ids = tuple((0, row) for row in range(settings.batch_size))
    return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), positions, None, count, count, ids)


@contextmanager
def _timed(found: SmokeStep, name: str, device: torch.device) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    found.seconds[name] = time.perf_counter() - begin


def _norm(model: nn.Module) -> float:
    norms = [p.grad.float().norm() for p in model.parameters() if p.grad is not None]
    return torch.stack(norms).norm().item()


def _look(found: SmokeStep, what: str, tensors: Any) -> None:
    """Name the first tensor that holds NaN or infinity, and count the others."""
    bad = [name for name, tensor in tensors if not torch.isfinite(tensor).all()]
    if bad:
        others = f", and {len(bad) - 1} others" if len(bad) > 1 else ""
        found.problems.append(f"not finite: the {what} of {bad[0]}{others}")


def _look_at_losses(found: SmokeStep) -> None:
    losses = {"before": found.loss, "after": found.loss_after}
    found.problems += [
        f"not finite: the loss {when} the step" for when, loss in losses.items() if not math.isfinite(loss)
    ]


def _peak(device: torch.device) -> tuple[int, str]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "tensors on the GPU"
    import resource  # not on every system

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024), "the whole process with its libraries"
