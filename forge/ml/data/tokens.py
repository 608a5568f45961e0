"""Encoded examples: tokens end to end, which of them are learned, and which row each example comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Gathering", "Shard", "Tokens"]

_SHARD: Final = 64 << 20  # tokens: at most 256 MB
_SMALL: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Shard:
    """Tokens of whole examples, and one bit for each that says whether it is learned; without bits all are."""

    ids: np.ndarray  # uint16 or uint32
    bits: np.ndarray | None  # uint8, eight tokens a byte, the lowest bit first


@dataclass(frozen=True, slots=True)
class Tokens:
    """Examples in the order of their rows; a token's address counts through all shards."""

    shards: tuple[Shard, ...]
    starts: np.ndarray  # int64: the address of each example's first token, and the end of the last
    rows: np.ndarray  # int64: the row of each example
    learned: np.ndarray  # int64: how many tokens of each example are learned

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each example."""
        return np.diff(self.starts)

    def example(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of one example, and which of them are learned."""
        addresses = np.arange(self.starts[number], self.starts[number + 1])
        return self.ids_at(addresses), self.trained_at(addresses)

    def ids_at(self, addresses: np.ndarray) -> np.ndarray:
        """The tokens at these addresses, as int64."""
        if len(self.shards) == 1:
            return self.shards[0].ids[addresses].astype(np.int64)
        found = np.empty(len(addresses), dtype=np.int64)
        for shard, where, inside in self._by_shard(addresses):
            found[where] = shard.ids[inside]
        return found

    def trained_at(self, addresses: np.ndarray) -> np.ndarray:
        """Whether the tokens at these addresses are learned."""
        if len(self.shards) == 1:
            return _bits_at(self.shards[0], addresses)
        found = np.empty(len(addresses), dtype=bool)
        for shard, where, inside in self._by_shard(addresses):
            found[where] = _bits_at(shard, inside)
        return found

    def _by_shard(self, addresses: np.ndarray) -> list[tuple[Shard, np.ndarray, np.ndarray]]:
        ends = np.cumsum([len(shard.ids) for shard in self.shards])
        number = np.searchsorted(ends, addresses, side="right")
        found = []
        for each in np.unique(number):
            where = np.flatnonzero(number == each)
            shard = self.shards[each]
            found.append((shard, where, addresses[where] - (ends[each] - len(shard.ids))))
        return found


def _bits_at(shard: Shard, inside: np.ndarray) -> np.ndarray:
    if shard.bits is None:
        return np.ones(len(inside), dtype=bool)
    return (shard.bits[inside >> 3] >> (inside & 7).astype(np.uint8) & 1).astype(bool)


class Gathering:
    """Examples that are added one after another, and given out as shards of bounded size."""

    def __init__(self) -> None:
        self._ids: list[np.ndarray] = []
        self._trained: list[np.ndarray | None] = []
        self._waiting = 0
        self._lengths: list[int] = []
        self._rows: list[int] = []
        self._learned: list[int] = []

    def add(self, row: int, ids: np.ndarray, trained: np.ndarray | None, learned: int) -> None:
        """Add the tokens (uint32) of a row; ``trained`` has a 0 or 1 for each (uint8), and is None when all are learned."""
        self._ids.append(ids)
        self._trained.append(trained)
        self._waiting += len(ids)
        self._lengths.append(len(ids))
        self._rows.append(row)
        self._learned.append(learned)

    def full(self) -> bool:
        """Whether what has been added makes a shard."""
        return self._waiting >= _SHARD

    def shard(self) -> Shard:
        """What has been added since the last shard."""
        ids = np.concatenate([np.empty(0, dtype=np.uint32), *self._ids])
        small = not len(ids) or int(ids.max()) < _SMALL
        bits = None
        if any(part is not None for part in self._trained):
            flags = [
                np.ones(len(own), dtype=np.uint8) if part is None else part
                for own, part in zip(self._ids, self._trained, strict=True)
            ]
            bits = np.packbits(np.concatenate(flags), bitorder="little")
        self._ids, self._trained, self._waiting = [], [], 0
        return Shard(ids.astype(np.uint16 if small else np.uint32), bits)

    def finish(self, shards: tuple[Shard, ...]) -> Tokens:
        """All examples, in the shards that were given out."""
        starts = np.concatenate([[0], np.cumsum(np.array(self._lengths, dtype=np.int64))]).astype(np.int64)
        rows, learned = np.array(self._rows, dtype=np.int64), np.array(self._learned, dtype=np.int64)
        return Tokens(shards, starts, rows, learned)
