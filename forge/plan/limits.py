"""What no run can have among the numbers of its trainer: asked before a launch by ``check``, and by the trainer itself."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["broken_limits"]

_AT_LEAST_ONE: Final = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "save_total_limit",
    "save_processes",
)
_FOR_EVER: Final = ", or null to wait for ever"
_NO_CLIPPING: Final = ", or null for no clipping"
_ABOVE_ZERO: Final = {
    "num_train_epochs": "",
    "max_grad_norm": _NO_CLIPPING,
    "max_grad_value": _NO_CLIPPING,
    "hang_seconds": _FOR_EVER,
    "first_step_seconds": _FOR_EVER,
}


def broken_limits(settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The settings with numbers that no run can have, or without one that is needed, each with what it has to be."""
    numbers = {name: value for name, value in settings.items() if isinstance(value, (int, float))}
    for name in _AT_LEAST_ONE:
        if name in numbers and numbers[name] < 1:
            yield name, f"{name} is at least 1, not {numbers[name]}"
    for name, otherwise in _ABOVE_ZERO.items():
        if name in numbers and not 0 < numbers[name] < inf:
            yield name, f"{name} is a number above 0{otherwise}, not {numbers[name]}"
    steps = numbers.get("max_steps", -1)
    if steps < 1 and steps != -1:
        yield "max_steps", f"max_steps is at least 1, or -1 to go by num_train_epochs, not {steps}"
    for what in ("eval", "save"):
        if settings.get(f"{what}_strategy") == "steps" and settings.get(f"{what}_steps", 1) is None:
            yield f"{what}_steps", f"{what}_strategy is steps: {what}_steps has to say how many"
