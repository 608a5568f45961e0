"""Whether a model can be trained in a layout: what stands in the way, why, and the nearest layouts in which it can.

``refusals`` is the one place that is asked: by ``forge check`` before anything starts, by ``forge plan``, and by a run itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import chain
from math import log2
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from forge.plan.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.plan.shape import ModelShape

__all__ = ["DeviceKind", "Refusal", "divisors", "layouts_near", "override_lines", "refusals"]

DeviceKind = Literal["cpu", "cuda"]

_DEGREES: Final = ("pp", "dp_replicate", "dp_shard", "cp", "tp")
# How much each asks of a model and of the lines between processes.
_EFFORT: Final = {"pp": 1.5, "dp_replicate": 1.0, "dp_shard": 1.0, "cp": 1.6, "tp": 1.3}
_WHOLE: Final = 3
_MOST_NEAREST: Final = 3
_ROUNDS: Final = ("interleaved_1f1b", "interleaved_zero_bubble")
_TWICE: Final = ("zbv", "dualpipev")
_SPLIT: Final = ("interleaved_zero_bubble", *_TWICE)


class Refusal(NamedTuple):
    """One thing that stands in the way of a layout.

    `key` is the value of the config that it hangs on, below the layout unless it begins with ``/``. `nearest` are lines of
    overrides, each of which makes the layout possible, the smallest change first.
    """

    key: str
    what: str
    why: str
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One sentence, and what to do."""
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text}; possible: {' or '.join(self.nearest)}" if self.nearest else text


@dataclass(frozen=True, slots=True)
class _Question:
    shape: ModelShape | None
    layout: Layout
    ranks: int
    sequence_length: int | None
    batch_size: int | None
    device: DeviceKind | None
    attention: str | None
    compiled: bool


def refusals(
    shape: ModelShape | None,
    layout: Layout,
    ranks: int,
    *,
    sequence_length: int | None = None,
    batch_size: int | None = None,
    device: DeviceKind | None = None,
    attention: str | None = None,
    compiled: bool = False,
    prefix: str = "parallel",
) -> list[Refusal]:
    """What stands in the way of a layout on so many processes; nothing when it is possible.

    `batch_size` are the rows that a process takes at a time, which a pipeline cuts into its microbatches. A shape of None is a
    model that nothing is known of: then only the layout itself is judged; with a device of None what some device can do is let by. `prefix` is where the config has the layout.
    """
    asked = _Question(shape, layout, ranks, sequence_length, batch_size, device, attention, compiled)
    found = _objections(asked)
    if not found:
        return []
    nearest = tuple(_lines_near(asked, prefix)) if any(not each.nearest for each in found) else ()
    return [each if each.nearest else each._replace(nearest=nearest) for each in found]


def divisors(number: int) -> list[int]:
    """All numbers that divide a number, in order."""
    low = [each for each in range(1, int(number**0.5) + 1) if number % each == 0]
    return sorted({*low, *(number // each for each in low)})


def override_lines(layout: Layout, before: Layout, prefix: str = "parallel") -> str:
    """What to write after a command to get from one layout to another."""
    changed = [
        f"{prefix}.{entry.name}={_written(getattr(layout, entry.name))}"
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


def _objections(asked: _Question) -> list[Refusal]:
    try:
        fitted = asked.layout.for_ranks(asked.ranks)
    except ValueError as error:
        return [Refusal("", f"the layout does not fit {_processes(asked.ranks)}", str(error))]
    asked = replace(asked, layout=fitted)
    checks: tuple[Callable[[_Question], Iterator[Refusal]], ...] = (
        _tensor_objections,
        _pipeline_objections,
        _context_objections,
        _device_objections,
    )
    return list(chain.from_iterable(check(asked) for check in checks))


def _tensor_objections(asked: _Question) -> Iterator[Refusal]:
    shape, tp = asked.shape, asked.layout.tp
    if tp == 1:
        return
    if shape is not None:
        if not shape.family.tensor_parallel:
            yield Refusal(
                "tp", f"{shape.model_type} has no tensor-parallel plan", "nobody says how its matrices are divided"
            )
            return
        yield from _head_objections(shape, tp)
        yield from _width_objections(shape, tp)
    if asked.layout.sequence_parallel and asked.sequence_length is not None:
        pieces = asked.layout.cp * tp
        if asked.sequence_length % pieces:
            why = f"with sequence_parallel each of cp x tp = {pieces} processes has an equal part of it"
            yield Refusal("sequence_parallel", f"{asked.sequence_length} tokens do not divide by {pieces}", why)


def _head_objections(shape: ModelShape, tp: int) -> Iterator[Refusal]:
    if shape.family.fused:
        return  # its one matrix is divided by columns, wherever a head begins
    if shape.heads % tp:
        yield Refusal("tp", f"tp={tp} does not divide {shape.heads} heads", "each process has whole heads")
    elif shape.kv_heads < tp:
        why = "each process needs a head of keys and values of its own"
        yield Refusal("tp", f"tp={tp} is more than {_count(shape.kv_heads, 'head')} of keys and values", why)
    elif shape.kv_heads % tp:
        yield Refusal(
            "tp", f"tp={tp} does not divide {shape.kv_heads} heads of keys and values", "each process has whole heads"
        )


def _width_objections(shape: ModelShape, tp: int) -> Iterator[Refusal]:
    widths = {"intermediate_size": shape.ffn if not shape.experts or shape.dense_layers else 0}
    widths |= {"moe_intermediate_size": shape.expert_ffn, "shared_expert_intermediate_size": shape.shared_ffn}
    if shape.family.fused:
        widths |= {
            "the width of all heads": shape.queries,
            "the width of queries, keys and values": shape.queries + 2 * shape.keys,
        }
    for name, width in widths.items():
        if width % tp:
            yield Refusal(
                "tp", f"tp={tp} does not divide {name} {width:,}", "each process has an equal part of a matrix"
            )
    if shape.vocab % tp:
        padded = -(-shape.vocab // tp) * tp
        why = (
            f"the head is divided by its rows; pad it to {padded:,} (model.config.vocab_size={padded} for a new model, "
            f"model.resize_to={padded} for the weights of a folder)"
        )
        yield Refusal("tp", f"tp={tp} does not divide a vocabulary of {shape.vocab:,}", why)


def _pipeline_objections(asked: _Question) -> Iterator[Refusal]:
    layout, shape = asked.layout, asked.shape
    if layout.pp == 1:
        return
    stages = layout.pp * layout.stages_per_rank
    if shape is not None and shape.layers < stages:
        many = f"{layout.pp} processes with {_count(layout.stages_per_rank, 'stage')} each"
        yield Refusal("pp", f"{shape.layers} layers do not make {stages} stages", f"{many} need a layer a stage")
    yield from _microbatch_objections(asked)


def _microbatch_objections(asked: _Question) -> Iterator[Refusal]:
    layout, count = asked.layout, asked.layout.microbatches
    if layout.pp_schedule in _ROUNDS:
        rounds = max(1, count // layout.pp)
        if count % rounds:
            why = f"{layout.pp_schedule} goes in rounds of {layout.pp} or more microbatches, all as long"
            yield Refusal("microbatches", f"{count} microbatches do not make {rounds} equal rounds", why)
    if asked.compiled and layout.pp_schedule in _SPLIT:
        why = "torch cannot split the backward pass of a compiled layer into that of inputs and that of weights"
        nearest = ("trainer.torch_compile=false",)
        yield Refusal("pp_schedule", f"{layout.pp_schedule} does not go with torch_compile", why, nearest)
    if asked.batch_size is not None and asked.batch_size % count:
        more = -(-asked.batch_size // count) * count
        why = "each microbatch has as many rows of a process's batch"
        nearest = (f"trainer.per_device_train_batch_size={more}",)
        yield Refusal("microbatches", f"{asked.batch_size} rows do not divide into {count} microbatches", why, nearest)


def _context_objections(asked: _Question) -> Iterator[Refusal]:
    cp, length, shape = asked.layout.cp, asked.sequence_length, asked.shape
    if cp == 1:
        return
    if shape is not None and (shape.heads // asked.layout.tp) % cp:
        each = f" of each of tp={asked.layout.tp}" if asked.layout.tp > 1 else ""
        why = "in attention each process has whole rows and some of the heads"
        yield Refusal("cp", f"cp={cp} does not divide {shape.heads // asked.layout.tp} heads{each}", why)
    if length is None:
        return
    # Causal attention works longest on the last tokens: on a GPU each process has a piece from both ends.
    pieces = 2 * cp if asked.device == "cuda" else cp
    if length % pieces:
        padded = -(-length // pieces) * pieces
        why = f"cp={cp} divides every sequence into {pieces} equal pieces"
        yield Refusal("cp", f"{length:,} tokens do not divide by {pieces}", why, (f"dataset.max_length={padded}",))


def _device_objections(asked: _Question) -> Iterator[Refusal]:
    if asked.device != "cpu":
        return
    if asked.layout.cpu_offload:
        why = "the weights are in host memory already, and torch cannot move them there"
        yield Refusal("cpu_offload", "cpu_offload has no use on a CPU", why, ("parallel.cpu_offload=false",))
    attention = asked.attention or ""
    if attention.startswith("flash_attention") or attention == "flex_attention":
        why = "it has no kernels there" if attention != "flex_attention" else "it has no backward pass there"
        yield Refusal(
            "/model.attn_implementation",
            f"{attention} does not train on a CPU",
            why,
            ("model.attn_implementation=auto",),
        )


def _lines_near(asked: _Question, prefix: str) -> Iterator[str]:
    """The smallest changes that leave nothing in the way."""
    found = 0
    for layout in layouts_near(asked.layout, asked.ranks):
        if not _objections(replace(asked, layout=layout)):
            yield override_lines(layout, asked.layout, prefix)
            found += 1
            if found == _MOST_NEAREST:
                return


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
        return {"pp": 1, "pp_schedule": None, "microbatches": 1, "stages_per_rank": 1}
    schedule = layout.pp_schedule or "1f1b"
    least = pp * 2 if schedule in _TWICE else pp
    # A multiple of the processes suits every schedule.
    microbatches = max(least, -(-layout.microbatches // pp) * pp)
    return {"pp": pp, "pp_schedule": schedule, "microbatches": microbatches, "stages_per_rank": layout.stages_per_rank}


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


def _written(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _processes(count: int) -> str:
    return f"{count} processes" if count != 1 else "one process"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
