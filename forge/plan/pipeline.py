"""Schedules of a pipeline: which process does what when, how long it waits, and how many microbatches it holds.

The orders are those of torch's schedules. When a thing is done follows from the order, from what it needs, and from how long stages
take: as long as one another where nothing is said.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from forge.plan.folded import dualpipev_order, zbv_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.plan.layout import Layout

__all__ = [
    "HeldPasses",
    "StageCost",
    "StageWork",
    "WorkKind",
    "bubble_formula",
    "bubble_share",
    "held_passes",
    "in_flight",
    "timeline",
]

WorkKind = Literal["F", "B", "I", "W"]
"""A forward pass, a whole backward pass, and its two halves: the gradients of the inputs and of the weights."""


class StageWork(NamedTuple):
    """One thing a process does: what, for which microbatch, in which stage, and from when to when."""

    kind: WorkKind
    stage: int
    microbatch: int
    start: float
    end: float


class HeldPasses(NamedTuple):
    """What a process has of each of its stages at a time: microbatches that are under way, and whether gradients."""

    microbatches: tuple[int, ...]
    gradients: tuple[bool, ...]


class StageCost(NamedTuple):
    """How long a stage takes for a microbatch: forward, and for the gradients of its inputs and of its weights, in any unit."""

    forward: float = 1.0
    inputs: float = 1.0
    weights: float = 1.0

    def of(self, kind: WorkKind) -> float:
        """How long one thing takes."""
        return {"F": self.forward, "B": self.inputs + self.weights, "I": self.inputs, "W": self.weights}[kind]


def bubble_formula(layout: Layout) -> tuple[str, float]:
    """The share of time that a schedule leaves its processes waiting, as a formula and as its value."""
    p, m, v = layout.pp, layout.microbatches, layout.stages_per_rank
    if p == 1:
        return "no pipeline", 0.0
    if layout.pp_schedule in ("gpipe", "1f1b"):
        return "(p - 1) / (m + p - 1)", (p - 1) / (m + p - 1)
    if layout.pp_schedule in ("interleaved_1f1b", "looped_bfs"):
        return "(p - 1) / (v m + p - 1)", (p - 1) / (v * m + p - 1)
    return "(p - 1) / (3 v m + p - 1)", (p - 1) / (3 * v * m + p - 1)


def bubble_share(layout: Layout, costs: tuple[StageCost, ...] | None = None) -> float:
    """The share of time that processes wait when the schedule is played, with stages that are all as long or cost so much."""
    rows = timeline(layout, costs)
    if layout.pp == 1:
        return 0.0
    whole = max(work.end for row in rows for work in row) * layout.pp
    return 1 - sum(work.end - work.start for row in rows for work in row) / whole


def in_flight(layout: Layout) -> list[list[int]]:
    """For each process, how many microbatches of each of its stages are held at the time when it holds most."""
    return [list(max((held.microbatches for held in one), key=sum)) for one in held_passes(layout)]


@lru_cache(maxsize=256)
def held_passes(layout: Layout) -> list[list[HeldPasses]]:
    """For each process, what it has at one time or another, each of these once."""
    if layout.pp == 1:
        count = layout.stages_per_rank
        return [[HeldPasses((1,) * count, (False,) * count)]]
    rows = timeline(layout)
    return [list(dict.fromkeys(_held(row, layout.stages_of(place)))) for place, row in enumerate(rows)]


def _held(row: list[StageWork], stages: list[int]) -> Iterator[HeldPasses]:
    held, graded = dict.fromkeys(stages, 0), dict.fromkeys(stages, False)
    for work in row:
        if work.kind == "F":
            held[work.stage] += 1
        # Whoever splits a backward pass keeps what the weights' gradients need until those are made.
        elif work.kind in ("B", "W"):
            held[work.stage] -= 1
            graded[work.stage] = True
        yield HeldPasses(tuple(held.values()), tuple(graded.values()))


@lru_cache(maxsize=256)
def timeline(layout: Layout, costs: tuple[StageCost, ...] | None = None) -> list[list[StageWork]]:
    """What each process of a pipeline does and when, one row a process; ``costs`` are those of the stages."""
    if layout.pp == 1:
        return [[StageWork("F", 0, 0, 0, 1), StageWork("B", 0, 0, 1, 3)]]
    orders = [list(_order(layout, place)) for place in range(layout.pp)]
    return _timed(layout, orders, costs or (StageCost(),) * (layout.pp * layout.stages_per_rank))


_Planned = tuple[WorkKind, int, int]


def _order(layout: Layout, place: int) -> Iterator[_Planned]:
    if layout.pp_schedule == "1f1b":
        yield from _one_by_one(layout, place)
    elif layout.pp_schedule == "zbv":
        yield from zbv_order(layout.pp, layout.microbatches, place)
    elif layout.pp_schedule == "dualpipev":
        yield from dualpipev_order(layout.pp, layout.microbatches, place)
    elif layout.pp_schedule in ("gpipe", "looped_bfs"):
        yield from _all_forward_first(layout, place)
    else:
        yield from _interleaved(layout, place)


def _all_forward_first(layout: Layout, place: int) -> Iterator[_Planned]:
    stages = layout.stages_of(place)
    for stage in stages:
        yield from (("F", stage, microbatch) for microbatch in range(layout.microbatches))
    back = range(layout.microbatches)
    for stage in reversed(stages):
        yield from (
            ("B", stage, microbatch) for microbatch in (back if layout.pp_schedule == "gpipe" else reversed(back))
        )


def _one_by_one(layout: Layout, place: int) -> Iterator[_Planned]:
    count = layout.microbatches
    ahead = min(count, layout.pp - place)
    yield from (("F", place, microbatch) for microbatch in range(ahead))
    for microbatch in range(count):
        yield ("B", place, microbatch)
        if microbatch + ahead < count:
            yield ("F", place, microbatch + ahead)


def _interleaved(layout: Layout, place: int) -> Iterator[_Planned]:
    """Several stages on each process, one microbatch forward and one backward in turn."""
    pp, loops, count = layout.pp, layout.stages_per_rank, layout.microbatches
    each_round = count // max(1, count // pp)
    total = loops * count
    split = layout.pp_schedule == "interleaved_zero_bubble"
    ahead = min((loops - 1) * each_round + (1 if split else 2) * (pp - 1 - place), total)
    forward = [_turn(step, each_round, loops) for step in range(total)]
    waiting: list[_Planned] = []
    for step in range(total + ahead):
        if step < total:
            loop, microbatch = forward[step]
            yield ("F", place + loop * pp, microbatch)
        if step >= ahead:
            loop, microbatch = forward[step - ahead]
            stage = place + (loops - 1 - loop) * pp
            yield ("I" if split else "B", stage, microbatch)
            if split:
                waiting.append(("W", stage, microbatch))
                if step - ahead >= place:
                    yield waiting.pop(0)
    yield from waiting


def _turn(step: int, each_round: int, loops: int) -> tuple[int, int]:
    """The loop and the microbatch of a step: a round of microbatches through one stage after the other."""
    whole, rest = divmod(step, each_round * loops)
    loop, place = divmod(rest, each_round)
    return loop, whole * each_round + place


def _timed(layout: Layout, orders: list[list[_Planned]], costs: tuple[StageCost, ...]) -> list[list[StageWork]]:
    """When each thing is done, each process going through its list as soon as what it needs is there."""
    rows: list[list[StageWork]] = [[] for _ in orders]
    done: dict[_Planned, float] = {}
    left = sum(len(order) for order in orders)
    while left:
        before = left
        for row, order in zip(rows, orders, strict=True):
            while len(row) < len(order):
                ready = _ready(layout, order[len(row)], done)
                if ready is None:
                    break
                _do(row, order[len(row)], ready, done, costs)
                left -= 1
        if left == before:
            raise ValueError(f"{layout.pp_schedule} waits for ever with {layout.microbatches} microbatches")
    return rows


def _ready(layout: Layout, planned: _Planned, done: dict[_Planned, float]) -> float | None:
    """When what a piece of work needs is there; None while it is not."""
    kind, stage, microbatch = planned
    last = layout.pp * layout.stages_per_rank - 1
    if kind == "F":
        return 0 if stage == 0 else done.get(("F", stage - 1, microbatch))
    if kind == "W":
        return done.get(("I", stage, microbatch))
    if stage == last:
        return done.get(("F", stage, microbatch))
    return done.get(("B", stage + 1, microbatch), done.get(("I", stage + 1, microbatch)))


def _do(
    row: list[StageWork],
    planned: _Planned,
    ready: float,
    done: dict[_Planned, float],
    costs: tuple[StageCost, ...],
) -> None:
    kind, stage, microbatch = planned
    start = max(ready, row[-1].end if row else 0)
    end = start + costs[stage].of(kind)
    row.append(StageWork(kind, stage, microbatch, start, end))
    done[planned] = end
