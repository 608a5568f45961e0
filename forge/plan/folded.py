"""The orders of the schedules that fold a pipeline into a V: each process has an early stage and, mirrored, a late one.

Both are written as what a process does to its early stage (0) and its late one (1), without microbatches: those are counted as they
come. ``W`` without a stage is the oldest weights' gradient that still waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["dualpipev_order", "zbv_order"]

_Planned = tuple[Literal["F", "B", "I", "W"], int, int]


def zbv_order(processes: int, microbatches: int, place: int) -> Iterator[_Planned]:
    """Zero bubble in a V: kinds, stages and microbatches in the order of one process."""
    # With fewer microbatches the order is that of a full pipeline, and what does not exist is left out.
    count = max(2 * processes - 1, microbatches)
    after = processes - place
    words = ["F0"] * (2 * after - 1) + ["F1", "F0"] * place + ["F1", "I1", "W1"] * after
    early, late = words.count("F0"), words.count("F1")
    while late < early or early < count:
        if early < count:
            words.append("F0")
            early += 1
        words += ["I0", "W0", "F1", "I1", "W1"]
        late += 1
    words += ["I0", "I1"] * place + ["I0", "W0"] * after
    words += ["W1"] * (count - words.count("W1"))
    words += ["W0"] * (count - words.count("W0"))
    return (planned for planned in _counted(words, processes, place) if planned[2] < microbatches)


def dualpipev_order(processes: int, microbatches: int, place: int) -> Iterator[_Planned]:
    """DualPipe in a V, which meets forward passes of one stage with backward passes of the other."""
    after = processes - place - 1
    words = ["F0"] * (2 * after) + ["F0", "F1"] * (place + 1) + ["I1", "W", "F1"] * after
    words += ["F0", "B1", "F1", "B0"] * (microbatches - 2 * processes + place + 1)
    words += ["B1", "F1", "B0"] * after
    words += _dualpipev_end(place)
    words += ["W", words[-1]] * after  # as the last backward pass before it: whole, or of the inputs alone
    words += ["W"] * (place + 1)
    return _counted(words, processes, place)


def _dualpipev_end(place: int) -> list[str]:
    """The last backward passes; from the middle on, those of the weights wait."""
    words = []
    for turn in range(place + 1):
        middle = (place + 1) // 2
        split = (turn > middle or (turn == middle and place % 2 == 1), turn >= middle)
        words += ["I1" if split[0] else "B1", "I0" if split[1] else "B0"]
    return words


def _counted(words: Iterable[str], processes: int, place: int) -> Iterator[_Planned]:
    """The same with stages and microbatches."""
    stages = (place, 2 * processes - 1 - place)
    counts: dict[tuple[str, int], int] = {}
    waiting: list[tuple[int, int]] = []
    for word in words:
        if word == "W":
            if waiting:
                stage, microbatch = waiting.pop(0)
                yield "W", stage, microbatch
            continue
        kind, stage = word[0], stages[int(word[1])]
        number = counts.get((kind if kind != "B" else "I", stage), 0)
        for counted in ("I", "W") if kind == "B" else (kind,):
            counts[counted, stage] = counts.get((counted, stage), 0) + 1
        if kind == "I":
            waiting.append((stage, number))
        yield kind, stage, number  # type: ignore[misc]
