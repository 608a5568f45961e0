"""Pieces of weights that a model has in one and its files expert by expert, gate and up projection apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.core_model_loading import Concatenate, MergeModulelist

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor
    from transformers.core_model_loading import WeightConverter

    from forge.ml.models.stored import Stored

__all__ = ["reader_of_experts"]


def reader_of_experts(
    converter: WeightConverter, members: Mapping[str, Sequence[Stored]]
) -> Callable[[Sequence[Tensor]], Tensor] | None:
    """What reads a piece of a weight that a conversion stacks of others, and no byte more; None where it does anything else.

    ``members`` are the tensors of the files by the pattern of the conversion that they go through, those of each in the order of experts.
    """
    lists = [members[pattern] for pattern in converter.source_patterns if pattern in members]
    joins = [(type(each), getattr(each, "dim", None)) for each in converter.operations]
    if (
        joins not in ([(MergeModulelist, 0)], [(MergeModulelist, 0), (Concatenate, 1)])
        or len(converter.target_patterns) > 1
    ):
        return None
    if len({len(each) for each in lists}) != 1 or any(one.part is None for each in lists for one in each):
        return None
    experts = [list(expert) for expert in zip(*lists, strict=True)]
    return lambda places: _read(experts, places)


def _read(experts: Sequence[Sequence[Stored]], places: Sequence[Tensor]) -> Tensor:
    chosen, rows, *rest = places
    found = [_of_one(experts[int(number)], rows, rest) for number in chosen]
    if not found:  # of few experts some processes have none
        return _of_one(experts[0], rows[:0], rest).new_empty(0, *map(len, places[1:]))
    return torch.stack(found)


def _of_one(stacked: Sequence[Stored], rows: Tensor, rest: Sequence[Tensor]) -> Tensor:
    """Some rows of matrices that lie below one another, which are asked for from the top down."""
    found, first = [], 0
    for one in stacked:
        own = rows[(rows >= first) & (rows < first + one.shape[0])] - first
        if one.part is not None:
            found.append(one.part([own, *rest]))
        first += one.shape[0]
    return torch.cat(found)
