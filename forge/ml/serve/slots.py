"""The keys and values of many texts at a time: one row of a tensor for each, all rows in use side by side.

Rows in use are always the first ones, so that a step reads a view of the tensors and copies nothing. A text that ends hands
its row to the last one. Room is taken in steps, in rows and in length, and given back when nothing runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SlotCache"]

_SHORTEST: Final = 128


class SlotCache(Cache):
    """A cache for a model's layers whose rows have lengths of their own; `place` says where the next states go."""

    def __init__(self, layers: int) -> None:
        self._rows: Tensor | None = None
        super().__init__(layers=[_SlotLayer() for _ in range(layers)])
        self.capacity = 0
        self.rows = 0

    def reserve(self, rows: int, length: int) -> None:
        """Make room for so many rows of such a length; what is in use is kept."""
        if rows <= self.rows and length <= self.capacity:
            return
        self.rows = max(self.rows, _power_above(rows, 1))
        self.capacity = max(self.capacity, _power_above(length, _SHORTEST))
        for layer in self.layers:
            layer.grow(self.rows, self.capacity)

    def place(self, first: int, positions: Tensor, length: int) -> None:
        """The next states belong to the rows from ``first`` on, at these positions [rows, tokens]; ``length`` of each row are read."""
        count = len(positions)
        rows = torch.arange(first, first + count, device=positions.device)[:, None]
        for layer in self.layers:
            layer.first, layer.count, layer.length = first, count, length
            layer.row_index, layer.positions = rows, positions

    def move(self, source: int, target: int, length: int) -> None:
        """Put a row in the place of another."""
        for layer in self.layers:
            layer.move(source, target, length)

    def release(self) -> None:
        """Give all room back."""
        self.rows = self.capacity = 0
        for layer in self.layers:
            layer.release()


class _SlotLayer(CacheLayerMixin):
    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.first = self.count = self.length = 0
        self.room = (0, 0)
        self.row_index: Any = None
        self.positions: Any = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, capacity = self.room
        self.keys = key_states.new_zeros(rows, key_states.shape[1], capacity, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], capacity, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        stop = self.first + self.count
        self.keys[self.row_index, :, self.positions] = key_states.transpose(1, 2)
        self.values[self.row_index, :, self.positions] = value_states.transpose(1, 2)
        return self.keys[self.first : stop, :, : self.length], self.values[self.first : stop, :, : self.length]

    def grow(self, rows: int, capacity: int) -> None:
        self.room = (rows, capacity)
        if self.is_initialized:
            self.keys, self.values = _grown(self.keys, rows, capacity), _grown(self.values, rows, capacity)

    def move(self, source: int, target: int, length: int) -> None:
        if self.is_initialized:
            self.keys[target, :, :length] = self.keys[source, :, :length]
            self.values[target, :, :length] = self.values[source, :, :length]

    def release(self) -> None:
        self.room = (0, 0)
        self.keys = self.values = None
        self.is_initialized = False

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - the library's signature
        return self.length, 0


def _grown(old: Tensor, rows: int, capacity: int) -> Tensor:
    new = old.new_zeros(rows, old.shape[1], capacity, old.shape[3])
    new[: old.shape[0], :, : old.shape[2]] = old
    return new


def _power_above(number: int, least: int) -> int:
    return max(least, 1 << (number - 1).bit_length())
