"""Whether the disk has room for the checkpoints that a run is going to keep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.free_space import free_space
from forge.base.old_checkpoints import checkpoint_steps
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.graph.call_check import Finding
from forge.plan.layout import Layout
from forge.plan.memory import rank_memory
from forge.plan.read import origin_of, setup_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.graph.call_check import Severity
    from forge.graph.node import Node
    from forge.plan.read import RunReading

__all__ = ["CheckpointNeed", "checkpoint_need", "disk_findings", "existing_folder"]

_LEAST_KEPT: Final = 2  # the two newest always stay
_FULL: Final = 4  # bytes of a number of an adapter


class CheckpointNeed(NamedTuple):
    """The bytes of one checkpoint, how many are kept at a time, and whether that number is only the least."""

    each: float
    kept: int
    at_least: bool

    @property
    def total(self) -> float:
        """The bytes of all."""
        return self.each * self.kept


def checkpoint_need(reading: RunReading, there: int = 0) -> CheckpointNeed | None:
    """What the checkpoints of a run will take beside those that are there; None where it saves none, or nothing is known of the model."""
    settings = reading.settings
    if settings.get("save_strategy") == "no":
        return None
    try:
        setup = setup_of(reading, layout=Layout(), ranks=1, device="cpu")
        memory = rank_memory(setup, 0)
    except ValueError:
        return None
    weights = memory.weights if setup.adapter_rank is None else memory.trained * _FULL
    count, at_least = _count(settings, there)
    return CheckpointNeed(weights + memory.optimizer, count, at_least)


def disk_findings(root: Node, reading: RunReading, main: str, output: str) -> list[Finding]:
    """An error where not even one checkpoint has room below the output folder, a warning where not all have that are kept."""
    from forge.graph.walk import find

    trainer = find(root, (main,))
    folder = existing_folder(output)
    place = _Place(trainer, main, folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        return [place.finding("output_dir", f"{shown_path(folder)} cannot be written to", "set another --output-dir")]
    need, free = checkpoint_need(reading, len(checkpoint_steps(output))), free_space(folder)
    if need is None or free is None:
        return []
    if free < need.each:
        return [_no_room(place, need, free, reading.settings)]
    return [_too_many(place, need, free)] if free < need.total else []


def existing_folder(path: str) -> str:
    """A folder, or the innermost folder above it that is there."""
    found = os.path.abspath(path)
    while not os.path.isdir(found) and found != os.path.dirname(found):
        found = os.path.dirname(found)
    return found


class _Place(NamedTuple):
    """The trainer of a config, its path, and the folder on whose disk it writes."""

    trainer: Node | None
    main: str
    folder: str

    def finding(self, field: str, message: str, hint: str, severity: Severity = "error") -> Finding:
        return Finding(origin_of(self.trainer, field), f"{self.main}.{field}", message, hint, severity, "preflight")


def _no_room(place: _Place, need: CheckpointNeed, free: float, settings: Mapping[str, Any]) -> Finding:
    says = f"a checkpoint takes about {shown_size(need.each)}, and {shown_path(place.folder)} has {shown_size(free)} of free space"
    severity: Severity = "warning" if settings.get("on_save_error") == "warn" else "error"
    return place.finding("output_dir", says, "free some space, or write elsewhere with --output-dir", severity)


def _too_many(place: _Place, need: CheckpointNeed, free: float) -> Finding:
    room = int(free // need.each)
    counted = f"{'at least ' * need.at_least}{need.kept} checkpoints of about {shown_size(need.each)}"
    says = (
        f"{counted} take {shown_size(need.total)}, and {shown_path(place.folder)} has {shown_size(free)} of free space"
    )
    # One is written before another is removed.
    fewer = f"keep fewer: --save-total-limit {room - 1}, or " if room > _LEAST_KEPT else ""
    return place.finding("save_total_limit", says, f"{fewer}free some space, or write elsewhere", "warning")


def _count(settings: Mapping[str, Any], there: int) -> tuple[int, bool]:
    """How many more checkpoints there will be at a time, and whether there may be more than that."""
    limit, saves = settings.get("save_total_limit"), _saves(settings)
    if limit is None:
        return (saves, False) if saves is not None else (1, True)
    most = max(limit, _LEAST_KEPT) + 1 - there  # the next is written before the oldest goes
    return max(1, most if saves is None else min(most, saves)), False


def _saves(settings: Mapping[str, Any]) -> int | None:
    """How often the run saves, the end included; None where that hangs on the length of the data."""
    steps, every = settings.get("max_steps"), settings.get("save_steps")
    if (
        settings.get("save_strategy") != "steps"
        or not isinstance(steps, int)
        or steps < 1
        or not isinstance(every, int)
    ):
        return None
    return -(-steps // max(1, every))
