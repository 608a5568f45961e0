"""The layouts that could stand in for one, and what to write to get there."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import combinations
from math import log2
from typing import TYPE_CHECKING, Any, Final

from forge.plan.layout import Layout
from forge.plan.stages import nearest_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["as_override", "divisors", "layouts_near", "mending_lines", "override_lines"]

_DEGREES: Final = ("pp", "dp_replicate", "dp_shard", "cp", "tp")
# How much each asks of a model and of the lines between processes.
_EFFORT: Final = {"pp": 1.5, "dp_replicate": 1.0, "dp_shard": 1.0, "cp": 1.6, "tp": 1.3}
_WHOLE: Final = 3
_WAYS: Final = 3
_TWICE: Final = ("zbv", "dualpipev")
_SCHEDULES: Final = ("1f1b", "interleaved_1f1b")  # with one stage on each process, and with several
_NAMES: Final = tuple(entry.name for entry in fields(Layout))


def divisors(number: int) -> list[int]:
    """All numbers that divide a number, in order."""
    low = [each for each in range(1, int(number**0.5) + 1) if number % each == 0]
    return sorted({*low, *(number // each for each in low)})


def override_lines(layout: Layout, before: Layout, prefix: str = "parallel") -> str:
    """What to write after a command to get from one layout to another."""
    changed = [
        f"{prefix}.{entry.name}={as_override(getattr(layout, entry.name))}"
        for entry in fields(Layout)
        if getattr(layout, entry.name) != getattr(before, entry.name)
    ]
    return " ".join(changed)


def layouts_near(layout: Layout, ranks: int) -> Iterator[Layout]:
    """The layouts on so many processes that could stand in for one, those that differ least first."""
    found: list[Layout] = []
    for pp in divisors(ranks):
        for cp in divisors(ranks // pp):
            for tp in divisors(ranks // pp // cp):
                found += _with_degrees(layout, pp, cp, tp, ranks // pp // cp // tp)
    unique = dict.fromkeys(found)
    yield from sorted(
        unique, key=lambda other: (_distance(layout, other), *(getattr(other, name) for name in _DEGREES))
    )


def mending_lines(given: Mapping[str, Any], prefix: str = "parallel") -> list[str]:
    """What to write where values contradict one another, so that they are a layout: the fewest changes, a line each way.

    Those that leave the degrees that were asked for come first, though they take a change more.
    """
    asked = given.get("pp")
    pp = asked if isinstance(asked, int) and asked > 0 else 1
    pipeline = ("microbatches", (pp, pp * 2)), ("stages_per_rank", (1, 2)), ("pp_schedule", _SCHEDULES), ("pp", (2, 1))
    others = [("dp_replicate", (1, -1)), ("dp_shard", (-1, 1)), ("cp", (1,)), ("tp", (1, 2)), ("zero_stage", (3, 0))]
    switches = [(name, (False,)) for name in ("cpu_offload", "sequence_parallel", "loss_parallel")]
    switches += [("reshard_after_forward", (True,))]
    stages = ("stage_layers", _other_stages(given, pp))
    single = [{name: value} for name, values in (stages, *pipeline, *others, *switches) for value in values]
    double = [{**one, **other} for one, other in combinations(single, 2) if one.keys() != other.keys()]
    fewest, more = ([change for change in some if _is_layout({**given, **change})] for some in (single, double))
    legal = fewest or more
    if legal and not any(_keeps_degrees(given, change) for change in legal):
        legal = [*(change for change in more if _keeps_degrees(given, change)), *legal]
    legal.sort(key=lambda change: not _keeps_degrees(given, change))
    return [
        " ".join(f"{prefix}.{name}={as_override(change[name])}" for name in _NAMES if name in change)
        for change in legal[:_WAYS]
    ]


def _other_stages(given: Mapping[str, Any], pp: int) -> tuple[tuple[int, ...] | None, ...]:
    """As many layers in as many stages as there are, and no sizes at all, where sizes are given."""
    sizes, each = given.get("stage_layers"), given.get("stages_per_rank", 1)
    if sizes is None:
        return ()
    if not isinstance(sizes, (list, tuple)) or not isinstance(each, int) or any(type(one) is not int for one in sizes):
        return (None,)
    layers = sum(size for size in sizes if size > 0)
    stages = pp * each
    return (tuple(nearest_sizes(sizes, layers, stages)), None) if 1 <= stages <= layers else (None,)


def _keeps_degrees(given: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    """Whether no degree above 1 is taken back."""
    before = ((given.get(name), change[name]) for name in _DEGREES if name in change)
    return not any(isinstance(asked, int) and asked > 1 and instead in (1, -1) for asked, instead in before)


def _is_layout(values: Mapping[str, Any]) -> bool:
    try:
        Layout(**values)
    except (TypeError, ValueError):
        return False
    return True


def _with_degrees(layout: Layout, pp: int, cp: int, tp: int, rest: int) -> Iterator[Layout]:
    """The layouts with these degrees, the processes that are left being copies, shares of one, or both."""
    pipeline = _pipeline_settings(layout, pp)
    for replicate in divisors(rest):
        shard = rest // replicate
        sharded = layout.zero_stage or _WHOLE if shard > 1 else 0
        open_end = layout.dp_shard < 0 and shard > 1
        yield replace(
            layout,
            **pipeline,
            dp_replicate=-1 if layout.dp_replicate < 0 and replicate > 1 else replicate,
            dp_shard=-1 if open_end else shard,
            cp=cp,
            tp=tp,
            zero_stage=sharded,
            cpu_offload=layout.cpu_offload and sharded == _WHOLE,
            sequence_parallel=layout.sequence_parallel and tp > 1,
            loss_parallel=layout.loss_parallel and tp > 1,
        )


def _pipeline_settings(layout: Layout, pp: int) -> dict[str, Any]:
    if pp == 1:
        return {"pp": 1, "pp_schedule": None, "microbatches": 1, "stages_per_rank": 1, "stage_layers": None}
    schedule = layout.pp_schedule or "1f1b"
    least = pp * 2 if schedule in _TWICE else pp
    # A multiple of the processes suits every schedule.
    microbatches = max(least, -(-layout.microbatches // pp) * pp)
    return {
        "pp": pp,
        "pp_schedule": schedule,
        "microbatches": microbatches,
        "stages_per_rank": layout.stages_per_rank,
        "stage_layers": layout.stage_layers if pp == layout.pp else None,
    }


def _distance(layout: Layout, other: Layout) -> float:
    """How much another layout changes: in doublings of a degree, and a little for each other value."""
    far = 0.0
    for name in _DEGREES:
        before, after = getattr(layout, name), getattr(other, name)
        if before > 0 and after > 0:  # the rest of the processes is what remains
            far += _EFFORT[name] * abs(log2(after / before))
    names = (entry.name for entry in fields(Layout) if entry.name not in _DEGREES)
    changes = [name for name in names if getattr(layout, name) != getattr(other, name)]
    return far + len(changes) / 8


def as_override(value: object) -> str:
    """A value as an override has it."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_override, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
