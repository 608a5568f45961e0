"""More rows for the tensors that have one for each token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from forge.ml.convert.tokens import NewRow
    from forge.ml.models.stored import Stored

__all__ = ["grown"]

_PORTION: Final = 8 << 20


def grown(stored: Stored, rows: int, new: Sequence[NewRow], known: int) -> Stored:
    """The tensor with at least so many rows, those of new tokens filled as they ask for; ``known`` is the number of tokens there were.

    A row that belongs to no token (padding of the file's own, or between its end and the first new token) is the mean as well, where
    it has to be made.
    """
    table = _Grown(stored, max(rows, stored.shape[0]), new, known)
    part = None if stored.part is None else table.part
    return stored.read_by(table.read, part, shape=(table.rows, *stored.shape[1:]))


@dataclass(frozen=True)
class _Grown:
    stored: Stored
    rows: int
    new: Sequence[NewRow]
    known: int

    def read(self) -> Tensor:
        return self._with_new_rows(self.stored.read(), torch.arange(self.rows), [])

    def part(self, places: Sequence[Tensor]) -> Tensor:
        rows, *rest = places
        return self._with_new_rows(self._old_rows(rows[rows < self.stored.shape[0]], rest), rows, rest)

    def _with_new_rows(self, table: Tensor, rows: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """The rows asked for, of which the table has the first; ``rest`` are the places in the other dimensions."""
        at = tuple(torch.meshgrid(*rest, indexing="ij")) if rest else (...,)
        whole = torch.cat([table, self._mean[at].expand(len(rows) - len(table), *table.shape[1:])])
        for row, value in self._values.items():
            whole[rows == row] = value[at]
        return whole

    @cached_property
    def _mean(self) -> Tensor:
        summed, left = torch.zeros(self.stored.shape[1:], dtype=torch.float64), self.known
        for portion in self.stored.portions(_PORTION):
            summed += portion[:left].sum(0, dtype=torch.float64)
            left -= min(left, len(portion))
        return (summed / self.known).to(self.stored.dtype)

    @cached_property
    def _values(self) -> dict[int, Tensor]:
        """What each new token begins as."""
        return {one.row: self._beginning(one.like) for one in self.new}

    def _beginning(self, like: Sequence[int] | None) -> Tensor:
        if like is None:
            return self._mean
        if not like:
            return torch.zeros_like(self._mean)
        rest = [torch.arange(length) for length in self.stored.shape[1:]]
        return self._old_rows(torch.tensor(like), rest).mean(0, dtype=torch.float32).to(self.stored.dtype)

    def _old_rows(self, rows: Tensor, rest: Sequence[Tensor]) -> Tensor:
        if self.stored.part is None:
            return self.stored.read()[rows]
        return self.stored.part([rows, *rest])
