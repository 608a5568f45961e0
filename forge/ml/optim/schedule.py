"""Learning-rate schedules: pure functions of the step, and the torch schedulers made of them.

Every factor multiplies the optimizer's own learning rate: it climbs in a straight line during warm-up, is 1 at the end of it,
and ends at `min_lr_ratio`. The step counts finished optimizer steps, so the first step of a warm-up is taken at a
rate above zero.
"""

from __future__ import annotations

import inspect
import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Literal

from forge.base.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR, LRScheduler

__all__ = [
    "DecayShape",
    "advance",
    "climbs_to_the_end",
    "constant",
    "constant_factor",
    "cosine",
    "cosine_factor",
    "linear",
    "linear_factor",
    "made_schedule",
    "warmup_length",
    "wsd",
    "wsd_factor",
]

DecayShape = Literal["linear", "1-sqrt"]


def constant_factor(step: int, *, warmup: int) -> float:
    """Warm-up, then 1."""
    return min(1.0, (step + 1) / (warmup + 1))


def cosine_factor(step: int, *, total: int, warmup: int, min_lr_ratio: float) -> float:
    """Warm-up, then half a cosine wave down to `min_lr_ratio`."""
    if step < warmup:
        return constant_factor(step, warmup=warmup)
    wave = 0.5 * (1.0 + math.cos(math.pi * _progress(step, warmup, total)))
    return min_lr_ratio + (1.0 - min_lr_ratio) * wave


def linear_factor(step: int, *, total: int, warmup: int, min_lr_ratio: float) -> float:
    """Warm-up, then a straight line down to `min_lr_ratio`."""
    if step < warmup:
        return constant_factor(step, warmup=warmup)
    return 1.0 - (1.0 - min_lr_ratio) * _progress(step, warmup, total)


def wsd_factor(step: int, *, total: int, warmup: int, decay: int, min_lr_ratio: float, shape: DecayShape) -> float:
    """Warm-up, then 1 (stable), then a descent over the last `decay` steps to `min_lr_ratio`."""
    start = max(total - decay, warmup)
    if step < start:
        return constant_factor(step, warmup=warmup)
    progress = _progress(step, start, total)
    descent = progress if shape == "linear" else math.sqrt(progress)
    return 1.0 - (1.0 - min_lr_ratio) * descent


def warmup_length(total: int, warmup_steps: int, warmup_ratio: float | None) -> int:
    """The steps of warm-up: `warmup_steps` where they are given, as in `transformers`, or `warmup_ratio` of the total.

    It may be longer than the run, which a few steps to try a config usually are: `climbs_to_the_end` tells.
    """
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps is a number of steps, not {warmup_steps}")
    if warmup_ratio is not None and not 0.0 <= warmup_ratio <= 1.0:
        raise ValueError(f"warmup_ratio is a share of the run, between 0 and 1, not {warmup_ratio}")
    return warmup_steps or round(total * (warmup_ratio or 0.0))


def constant(
    optimizer: Optimizer, total_steps: int, *, warmup_steps: int = 0, warmup_ratio: float | None = None
) -> LambdaLR:
    """Warm up, then keep the learning rate."""
    warmup = warmup_length(total_steps, warmup_steps, warmup_ratio)
    return _scheduler(optimizer, partial(constant_factor, warmup=warmup))


def cosine(
    optimizer: Optimizer,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    warmup_ratio: float | None = None,
    min_lr_ratio: float = 0.0,
) -> LambdaLR:
    """Warm up, then follow half a cosine wave down to `min_lr_ratio` of the learning rate."""
    warmup = warmup_length(total_steps, warmup_steps, warmup_ratio)
    _check_ratio("min_lr_ratio", min_lr_ratio)
    return _scheduler(optimizer, partial(cosine_factor, total=total_steps, warmup=warmup, min_lr_ratio=min_lr_ratio))


def linear(
    optimizer: Optimizer,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    warmup_ratio: float | None = None,
    min_lr_ratio: float = 0.0,
) -> LambdaLR:
    """Warm up, then fall in a straight line to `min_lr_ratio` of the learning rate."""
    warmup = warmup_length(total_steps, warmup_steps, warmup_ratio)
    _check_ratio("min_lr_ratio", min_lr_ratio)
    return _scheduler(optimizer, partial(linear_factor, total=total_steps, warmup=warmup, min_lr_ratio=min_lr_ratio))


def wsd(
    optimizer: Optimizer,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    warmup_ratio: float | None = None,
    decay_ratio: float = 0.1,
    min_lr_ratio: float = 0.0,
    shape: DecayShape = "1-sqrt",
) -> LambdaLR:
    """Warm up, stay stable, then decay over the last `decay_ratio` of the run."""
    warmup = warmup_length(total_steps, warmup_steps, warmup_ratio)
    _check_ratio("min_lr_ratio", min_lr_ratio)
    _check_ratio("decay_ratio", decay_ratio)
    if shape not in ("linear", "1-sqrt"):
        raise ValueError(f"the shape of the decay is linear or 1-sqrt, not {shape!r}")
    decay = round(total_steps * decay_ratio)
    factor = partial(wsd_factor, total=total_steps, warmup=warmup, decay=decay, min_lr_ratio=min_lr_ratio, shape=shape)
    return _scheduler(optimizer, factor)


def made_schedule(make: Callable[[Optimizer, int], LRScheduler], optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """The schedule of a run; RunError for one that cannot go by the number of steps alone, so that it could not be resumed."""
    takes = "it is made of an optimizer and the number of steps, and goes on by `step()`"
    try:
        schedule = make(optimizer, total_steps)
    except TypeError as error:
        raise RunError(f"the schedule cannot be made: {error}", hint=takes) from error
    step = getattr(schedule, "step", None)
    if step is None or not hasattr(schedule, "get_last_lr"):
        raise RunError(f"a {type(schedule).__name__} is no schedule", hint=takes)
    wanted = [name for name, one in inspect.signature(step).parameters.items() if one.default is one.empty]
    if wanted:
        raise RunError(
            f"the schedule {type(schedule).__name__} asks for {', '.join(wanted)} at each step, and a run tells it nothing",
            hint=takes,
        )
    return schedule


def climbs_to_the_end(schedule: LRScheduler, total_steps: int) -> bool:
    """Whether the learning rate of a run is on its way up to its last step, as when a warm-up is longer than the run."""
    factors = getattr(schedule, "lr_lambdas", [])  # what other schedules do nobody can tell ahead
    return total_steps > 1 and any(factor(total_steps - 2) < factor(total_steps - 1) < 1.0 for factor in factors)


def advance(schedule: LRScheduler, steps: int = 1) -> None:
    """Count steps, also those whose update was left out; torch takes that for a mistake when it is the first."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
        for _ in range(steps):
            schedule.step()


def _progress(step: int, start: int, total: int) -> float:
    """How much of the way from `start` to `total` is done, from 0 to 1."""
    if step >= total:
        return 1.0
    return (step - start) / (total - start)


def _check_ratio(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a share, between 0 and 1, not {value}")


def _scheduler(optimizer: Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    # Imported here so that the factors can be read and tested without torch.
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, factor)
