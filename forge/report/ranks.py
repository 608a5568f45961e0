"""What the processes of a run on this machine say of themselves: which step they are in, and what they do there."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from forge.control.heartbeat import HEARTBEATS, read_beats
from forge.control.known import spoken_time
from forge.control.processes import started_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from forge.control.heartbeat import Beat
    from forge.control.processes import Identity

__all__ = ["beats_of", "rank_lines"]


def beats_of(processes: Iterable[Identity]) -> list[Beat]:
    """The heartbeats of those of a job's processes that are ranks, by their numbers."""
    own = set(processes)
    folders = {started_with(who, HEARTBEATS) for who in own} - {""}
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):  # the run has just ended, and taken it away
            found += [beat for beat in read_beats(folder) if beat.process in own]
    return sorted(found, key=lambda beat: beat.rank)


def rank_lines(beats: Sequence[Beat]) -> list[str]:
    """One line for all ranks that are equally far: ``ranks 0, 1: step 12, backward``; who has been there for long is told."""
    groups: dict[tuple[int, str], list[Beat]] = {}
    for beat in beats:
        groups.setdefault((beat.step, beat.phase), []).append(beat)
    now = time.monotonic()
    lines = []
    for (step, phase), some in sorted(groups.items()):
        name = "rank" if len(some) == 1 else "ranks"
        waited = now - max(beat.since for beat in some)
        since = f" for {spoken_time(waited)}" if waited >= 1 else ""
        lines.append(f"{name} {_numbers([beat.rank for beat in some])}: step {step}, {phase}{since}")
    return lines


def _numbers(ranks: Sequence[int]) -> str:
    """``0-3, 6`` for 0, 1, 2, 3 and 6."""
    parts: list[list[int]] = []
    for rank in ranks:
        if parts and parts[-1][-1] == rank - 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
