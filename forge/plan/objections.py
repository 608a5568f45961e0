"""What stands in the way of a layout by the sizes of the model, of its rows and of its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.plan.near import as_override, divisors
from forge.plan.refusal import Refusal
from forge.plan.stages import nearest_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.plan.asked import RunQuestion
    from forge.plan.layout import Layout
    from forge.plan.shape import ModelShape

__all__ = ["size_objections"]

_ROUNDS: Final = ("interleaved_1f1b", "interleaved_zero_bubble")
_NO_PLAN: Final = ("{} has no tensor-parallel plan", "nobody says how its matrices are divided")
_PART_OF_A_PLAN: Final = (
    "the tensor-parallel plan of {} leaves out matrices or names others",
    "what it leaves out would silently be kept whole in every process",
)


def size_objections(asked: RunQuestion) -> Iterator[Refusal]:
    """What cannot be divided as the layout wants it."""
    yield from _positions(asked)
    yield from _tensor(asked)
    yield from _pipeline(asked)
    yield from _context(asked)


def _positions(asked: RunQuestion) -> Iterator[Refusal]:
    known = None if asked.shape is None else asked.shape.positions
    if known is not None and asked.sequence_length is not None and asked.sequence_length > known:
        yield Refusal(
            "/dataset.max_length",
            f"rows of {asked.sequence_length:,} tokens are longer than the {known:,} positions that the model knows",
            "",
            (f"dataset.max_length={known}",),
        )


def _tensor(asked: RunQuestion) -> Iterator[Refusal]:
    shape, tp = asked.shape, asked.layout.tp
    if tp == 1:
        return
    if asked.family.tensor_plan != "whole":
        what, why = _NO_PLAN if asked.family.tensor_plan == "none" else _PART_OF_A_PLAN
        yield Refusal("tp", what.format(asked.kind), why)
        return
    if shape is not None:
        yield from _heads(shape, tp)
        yield from _widths(shape, tp)
        yield from _vocabulary(asked, shape.vocab)
    if asked.layout.sequence_parallel and asked.sequence_length is not None:
        pieces = asked.layout.cp * tp
        if asked.sequence_length % pieces:
            why = f"with sequence_parallel each of cp x tp = {pieces} processes has an equal part of it"
            ways = (*_other_length(asked, pieces), "parallel.sequence_parallel=false")
            yield Refusal("sequence_parallel", f"{asked.sequence_length:,} tokens do not divide by {pieces}", why, ways)


def _other_length(asked: RunQuestion, pieces: int) -> tuple[str, ...]:
    """The nearest length of rows that can be divided: a longer one, or where the model has no place for it a shorter one."""
    length, positions = asked.sequence_length or 0, None if asked.shape is None else asked.shape.positions
    longer = -(-length // pieces) * pieces
    found = longer if positions is None or longer <= positions else min(length, positions) // pieces * pieces
    return (f"dataset.max_length={found}",) if found else ()


def _heads(shape: ModelShape, tp: int) -> Iterator[Refusal]:
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


def _widths(shape: ModelShape, tp: int) -> Iterator[Refusal]:
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


def _vocabulary(asked: RunQuestion, size: int) -> Iterator[Refusal]:
    tp = asked.layout.tp
    if size % tp == 0:
        return
    padded = -(-size // tp) * tp
    why = (
        f"the head is divided by its rows; pad it to {padded:,} (model.config.vocab_size={padded} for a new model, "
        f"model.resize_to={padded} for the weights of a folder)"
    )
    nearest = (f"{asked.vocabulary}={padded}",) if asked.vocabulary else ()
    yield Refusal("tp", f"tp={tp} does not divide a vocabulary of {size:,}", why, nearest)


def _pipeline(asked: RunQuestion) -> Iterator[Refusal]:
    layout, shape = asked.layout, asked.shape
    if layout.pp == 1:
        return
    if shape is not None and shape.beside:
        why = "a stage of a pipeline has no more than the hidden states of the layer before"
        yield Refusal("pp", f"{shape.model_type} with {shape.beside} does not go with pp", why)
        return
    if shape is not None and shape.layers < layout.stages:
        many = f"{layout.pp} processes with {_count(layout.stages_per_rank, 'stage')} each"
        yield Refusal("pp", f"{shape.layers} layers do not make {layout.stages} stages", f"{many} need a layer a stage")
    elif shape is not None and layout.stage_layers is not None:
        yield from _stage_layers(layout.stage_layers, shape.layers)
    yield from _microbatches(asked)


def _stage_layers(sizes: Sequence[int], layers: int) -> Iterator[Refusal]:
    if sum(sizes) != layers:
        near = as_override(nearest_sizes(sizes, layers, len(sizes)))
        what = f"stage_layers={as_override(sizes)} are {_count(sum(sizes), 'layer')}, and the model has {layers}"
        ways = (f"parallel.stage_layers={near}", "parallel.stage_layers=null")
        yield Refusal("stage_layers", what, "each layer is in one stage", ways)


def _microbatches(asked: RunQuestion) -> Iterator[Refusal]:
    layout, count = asked.layout, asked.layout.microbatches
    if not _in_rounds(asked, count):
        many = count * asked.accumulation
        how = f" ({count} of each of {asked.accumulation} accumulated batches)" if asked.accumulation > 1 else ""
        why = f"{layout.pp_schedule} goes in rounds of {layout.pp} or more microbatches, all as long"
        what = f"{many} microbatches{how} do not make {_rounds(layout, many)} equal rounds"
        yield Refusal("microbatches", what, why, tuple(_other_microbatches(asked)))
    if asked.batch_size is not None and asked.batch_size % count:
        why = "each microbatch has as many rows of a process's batch"
        what = f"{asked.batch_size} rows do not divide into {count} microbatches"
        yield Refusal("microbatches", what, why, tuple(_other_microbatches(asked)))


def _other_microbatches(asked: RunQuestion) -> Iterator[str]:
    """The nearest numbers of microbatches that the rows and the schedule allow, and the nearest number of rows."""
    layout, rows = asked.layout, asked.batch_size
    more = -(-layout.microbatches // layout.pp) * layout.pp  # whole rounds suit every schedule
    if rows is None:
        yield f"parallel.microbatches={more}"
        return
    counts = [each for each in divisors(rows) if each >= layout.fewest_microbatches and _in_rounds(asked, each)]
    if counts:
        yield f"parallel.microbatches={min(counts, key=lambda each: abs(each - layout.microbatches))}"
    if _in_rounds(asked, layout.microbatches):
        yield f"trainer.per_device_train_batch_size={-(-rows // layout.microbatches) * layout.microbatches}"
    elif not counts:
        yield f"parallel.microbatches={more} trainer.per_device_train_batch_size={-(-rows // more) * more}"


def _in_rounds(asked: RunQuestion, count: int) -> bool:
    """Whether a step of batches of so many microbatches goes through the schedule: those of all its batches one after another."""
    many = count * asked.accumulation
    return asked.layout.pp_schedule not in _ROUNDS or many % _rounds(asked.layout, many) == 0


def _rounds(layout: Layout, many: int) -> int:
    return max(1, many // layout.pp)


def _context(asked: RunQuestion) -> Iterator[Refusal]:
    cp, length, shape = asked.layout.cp, asked.sequence_length, asked.shape
    if cp == 1:
        return
    if asked.family.stateful:
        why = "rows are cut into pieces, and what comes before a piece is in another process"
        yield Refusal("cp", f"{asked.kind} does not go with cp: its layers keep a state along a row", why)
        return
    if not asked.family.forge_attention:
        why = "rows are cut into pieces, over which forge's own attention attends alone"
        yield Refusal("cp", f"{asked.kind} does not go with cp: its attention is its own", why)
        return
    if shape is not None and (shape.heads // asked.layout.tp) % cp:
        each = f" of each of tp={asked.layout.tp}" if asked.layout.tp > 1 else ""
        why = "in attention each process has whole rows and some of the heads"
        yield Refusal("cp", f"cp={cp} does not divide {shape.heads // asked.layout.tp} heads{each}", why)
    if length is not None and length % cp:
        why = f"cp={cp} divides every sequence into {cp} equal pieces"
        yield Refusal("cp", f"{length:,} tokens do not divide by {cp}", why, _other_length(asked, cp))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
