"""What stands in the way of a layout by the sizes of the model, of its rows and of its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.plan.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.plan.asked import RunQuestion
    from forge.plan.shape import ModelShape

__all__ = ["size_objections"]

_ROUNDS: Final = ("interleaved_1f1b", "interleaved_zero_bubble")


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
    if shape is not None:
        if not shape.family.tensor_parallel:
            yield Refusal(
                "tp", f"{shape.model_type} has no tensor-parallel plan", "nobody says how its matrices are divided"
            )
            return
        yield from _heads(shape, tp)
        yield from _widths(shape, tp)
    if asked.layout.sequence_parallel and asked.sequence_length is not None:
        pieces = asked.layout.cp * tp
        if asked.sequence_length % pieces:
            why = f"with sequence_parallel each of cp x tp = {pieces} processes has an equal part of it"
            yield Refusal("sequence_parallel", f"{asked.sequence_length} tokens do not divide by {pieces}", why)


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
    if shape.vocab % tp:
        padded = -(-shape.vocab // tp) * tp
        why = (
            f"the head is divided by its rows; pad it to {padded:,} (model.config.vocab_size={padded} for a new model, "
            f"model.resize_to={padded} for the weights of a folder)"
        )
        yield Refusal("tp", f"tp={tp} does not divide a vocabulary of {shape.vocab:,}", why)


def _pipeline(asked: RunQuestion) -> Iterator[Refusal]:
    layout, shape = asked.layout, asked.shape
    if layout.pp == 1:
        return
    stages = layout.pp * layout.stages_per_rank
    if shape is not None and shape.layers < stages:
        many = f"{layout.pp} processes with {_count(layout.stages_per_rank, 'stage')} each"
        yield Refusal("pp", f"{shape.layers} layers do not make {stages} stages", f"{many} need a layer a stage")
    yield from _microbatches(asked)


def _microbatches(asked: RunQuestion) -> Iterator[Refusal]:
    layout, count = asked.layout, asked.layout.microbatches
    if layout.pp_schedule in _ROUNDS:
        rounds = max(1, count // layout.pp)
        if count % rounds:
            why = f"{layout.pp_schedule} goes in rounds of {layout.pp} or more microbatches, all as long"
            yield Refusal("microbatches", f"{count} microbatches do not make {rounds} equal rounds", why)
    if asked.batch_size is not None and asked.batch_size % count:
        more = -(-asked.batch_size // count) * count
        why = "each microbatch has as many rows of a process's batch"
        nearest = (f"trainer.per_device_train_batch_size={more}",)
        yield Refusal("microbatches", f"{asked.batch_size} rows do not divide into {count} microbatches", why, nearest)


def _context(asked: RunQuestion) -> Iterator[Refusal]:
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


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
