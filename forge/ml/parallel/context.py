"""Sequences in pieces: each process has some of the tokens of a row, and in attention all of them of some of the heads.

Queries, keys and values are exchanged for that before the attention, and its answer after it. What attends therefore sees whole
rows and whole documents, and is the same as in one process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist

from forge.base.errors import RunError
from forge.ml.data.batch import IGNORED
from forge.ml.models.attention import DOCUMENTS, attend_through
from forge.ml.parallel.tensor_collectives import Peers, exchanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from forge.ml.data.batch import Batch
    from forge.ml.parallel.world import World

__all__ = ["exchange_heads", "sequence_piece"]

_ROUND: Final = 128  # a CPU is quicker, and takes less memory, with few lengths


def sequence_piece(batch: Batch, world: World) -> Batch:
    """The part of a batch that this process has, with the bounds of the documents in the whole rows."""
    pieces, place = world.layout.cp, world.place("cp")
    if pieces == 1:
        return batch
    unit = pieces * (_ROUND if world.device.type == "cpu" else 1)
    whole = _with_all_lengths(batch.padded_to_multiple(unit))
    width = whole.input_ids.shape[1] // pieces
    mine = slice(place * width, (place + 1) * width)
    targets = whole.targets[:, mine]
    return replace(
        whole,
        input_ids=whole.input_ids[:, mine],
        targets=targets,
        position_ids=whole.position_ids[:, mine],
        tokens=batch.tokens if place == 0 else 0,
        trained=int((targets != IGNORED).sum()),
    )


def _with_all_lengths(batch: Batch) -> Batch:
    """The batch with the lengths of its documents, also where each row is one."""
    if batch.lengths is not None:
        return batch
    rows, width = batch.input_ids.shape
    return replace(batch, lengths=torch.full((rows,), width, dtype=torch.int32))


def exchange_heads(model: nn.Module, world: World) -> None:
    """Let the attention of a model work on whole rows, of which each process has a piece."""
    layout, base = world.layout, getattr(model, "get_base_model", lambda: model)()
    if layout.cp == 1:
        attend_through(None)
        return
    found = base.config._attn_implementation  # noqa: SLF001 - where transformers keeps it
    if found != DOCUMENTS:
        raise RunError(
            f"cp={layout.cp} cuts rows into pieces, which attn_implementation {found} cannot attend over",
            hint="write model.attn_implementation=auto",
        )
    heads = base.config.get_text_config().num_attention_heads // layout.tp
    if heads % layout.cp:
        raise RunError(
            f"{heads} attention heads cannot be divided among cp={layout.cp} processes",
            hint=f"choose a cp that divides {heads}",
        )
    group = world.groups["cp"]
    attend_through(_Exchange(Peers(group.group_name, layout.cp, dist.get_rank(group))))


@dataclass(frozen=True)
class _Exchange:
    """Attention on whole rows and some heads, between two exchanges."""

    peers: Peers

    def __call__(
        self, attend: Callable[..., Any], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sinks: Any
    ) -> torch.Tensor:
        peers = self.peers
        query, key, value = _as_computed(query, key, value)
        key, value = (_enough_heads(tensor, peers.size) for tensor in (key, value))
        # In memory tokens come before heads, as they do where a model makes them: attention then copies nothing.
        whole = [exchanged(tensor.transpose(1, 2), 2, 1, peers).transpose(1, 2) for tensor in (query, key, value)]
        if sinks is not None:
            sinks = sinks.chunk(peers.size)[peers.rank]
        return exchanged(attend(*whole, sinks), 1, 2, peers)


def _as_computed(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """In the type that attention computes in: under autocast a rotary embedding leaves queries and keys twice as large."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def _enough_heads(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """Keys and values with as many heads as can be divided; a head that several processes need is there several times."""
    heads = tensor.shape[1]
    return tensor.repeat_interleave(size // math.gcd(heads, size), 1)
