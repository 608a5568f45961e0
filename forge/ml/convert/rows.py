"""More rows for the tensors that have one for each token."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from forge.ml.convert.tokens import NewRow
    from forge.ml.models.stored import Stored

__all__ = ["grown"]


def grown(stored: Stored, rows: int, new: Sequence[NewRow], known: int) -> Stored:
    """The tensor with at least so many rows, those of new tokens filled as they ask for; ``known`` is the number of tokens there were.

    A row that belongs to no token (padding of the file's own, or between its end and the first new token) is the mean as well, where
    it has to be made.
    """
    total = max(rows, stored.shape[0])

    def read() -> Tensor:
        return _filled(stored.read(), total, new, known)

    return replace(stored, shape=(total, *stored.shape[1:]), read=read)


def _filled(tensor: Tensor, total: int, new: Sequence[NewRow], known: int) -> Tensor:
    mean = tensor[:known].mean(0, dtype=torch.float32).to(tensor.dtype)
    whole = torch.cat([tensor, mean.expand(total - len(tensor), *tensor.shape[1:])])
    for one in new:
        if one.like is None:
            whole[one.row] = mean
        elif one.like:
            whole[one.row] = tensor[list(one.like)].mean(0, dtype=torch.float32).to(tensor.dtype)
        else:
            whole[one.row] = 0
    return whole
