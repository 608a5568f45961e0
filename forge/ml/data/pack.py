"""Documents into sequences: how long documents are cut, and which pieces share a sequence.

All functions work on lengths alone and are pure: the same lengths give the same plan on every machine. A window of rows is
packed without regard to any other, so that a stream can be continued at any window.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Overflow", "Packing", "Plan", "plan"]

Packing = Literal["none", "greedy", "best_fit"]
Overflow = Literal["truncate", "drop", "split"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Pieces of examples, grouped into sequences: those of sequence ``s`` are ``sequences[s]:sequences[s + 1]``."""

    example: np.ndarray  # int64, the example that each piece is cut from
    start: np.ndarray  # int64, its first token within the example
    length: np.ndarray  # int64, its number of tokens
    sequences: np.ndarray  # int64, where each sequence begins in the three above, and the end of the last

    def __len__(self) -> int:
        return len(self.sequences) - 1

    def efficiency(self, max_length: int) -> float:
        """Which part of the room that the sequences have is filled with tokens."""
        return int(self.length.sum()) / (max(len(self), 1) * max_length)


def plan(lengths: np.ndarray, max_length: int, packing: Packing, overflow: Overflow) -> Plan:
    """Sequences of at most ``max_length`` tokens from examples of these lengths; an empty example is left out."""
    lengths = np.asarray(lengths, dtype=np.int64)
    if packing == "greedy" and overflow == "split":
        return _cut_the_row(lengths, max_length)
    example, start, length = _pieces(lengths, max_length, overflow)
    if packing == "best_fit":
        order, sequences = _best_fit(length, max_length)
        return Plan(example[order], start[order], length[order], sequences)
    sequences = _in_order(length, max_length) if packing == "greedy" else np.arange(len(length) + 1)
    return Plan(example, start, length, sequences)


def _pieces(lengths: np.ndarray, max_length: int, overflow: Overflow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each example as one piece; one that is too long as several, as its beginning, or not at all."""
    if overflow == "split":
        # The last token has none to predict: alone in a piece it would teach nothing, so it stays what the piece before predicts.
        parts = np.where(lengths > 1, -(-(lengths - 1) // max_length), lengths)
        example = np.repeat(np.arange(len(lengths)), parts)
        start = (np.arange(len(example)) - np.repeat(np.cumsum(parts) - parts, parts)) * max_length
        return example, start, np.minimum(lengths[example] - start, max_length)
    fitting = (lengths > 0) & ((lengths <= max_length) if overflow == "drop" else True)
    example = np.flatnonzero(fitting)
    return example, np.zeros(len(example), dtype=np.int64), np.minimum(lengths[example], max_length)


def _cut_the_row(lengths: np.ndarray, max_length: int) -> Plan:
    """All examples laid end to end and cut every ``max_length`` tokens: no room is lost but at the very end."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    # A last sequence of one token would teach nothing, as in `_pieces`.
    total -= total % max_length == 1 and total > 1 and int(lengths[lengths > 0][-1]) > 1
    cuts = np.arange(0, total, max_length)
    begins = np.union1d((ends - lengths)[lengths > 0], cuts)
    example = np.searchsorted(ends, begins, side="right")
    length = np.diff(begins, append=total)
    return Plan(
        example, begins - (ends - lengths)[example], length, np.append(np.searchsorted(begins, cuts), len(begins))
    )


def _in_order(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """Pieces in the order of the data; a sequence ends before the first piece that it has no room for."""
    ends = np.cumsum(lengths)
    sequences, at, before = [0], 0, 0
    while at < len(lengths):
        at = int(np.searchsorted(ends, before + max_length, side="right"))
        before = int(ends[at - 1])
        sequences.append(at)
    return np.array(sequences, dtype=np.int64)


def _best_fit(lengths: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """The longest piece first, each into the fullest sequence that still has room for it."""
    order = np.argsort(-lengths, kind="stable")
    bins = _Bins(max_length)
    distinct, counts = np.unique(-lengths, return_counts=True)
    for length, count in zip((-distinct).tolist(), counts.tolist(), strict=True):
        bins.place(length, count)
    number = np.concatenate([np.repeat(*run) for run in bins.placed]) if bins.placed else np.empty(0, dtype=np.int64)
    grouped = np.argsort(number, kind="stable")
    return order[grouped], np.searchsorted(number[grouped], np.arange(bins.count + 1))


class _Bins:
    """Sequences by the room they have left.

    Pieces of one length are placed together. A sequence that takes one becomes fuller than all others that have room, so it takes the next
    ones as well, until it has no room: whole groups of sequences with equal room are filled in one step.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.count = 0
        self.rooms: list[int] = []  # the amounts of room that some sequence has left, in order
        self.having: dict[int, list[int]] = {}  # the sequences that have each amount
        self.placed: list[tuple[list[int], int | list[int]]] = []  # sequences, and how many pieces in a row each takes

    def place(self, length: int, count: int) -> None:
        """Find room for a number of pieces of one length."""
        while count:
            at = bisect_left(self.rooms, length)
            if at == len(self.rooms):
                each = self.room // length
                needed = -(-count // each)
                self._give(self.room, list(range(self.count, self.count + needed)))
                self.count += needed
                continue
            count -= self._fill(self.rooms[at], length, count)

    def _fill(self, room: int, length: int, count: int) -> int:
        each = room // length
        waiting = self.having[room]
        full = min(len(waiting), count // each)
        rest = count - full * each if full < len(waiting) else 0
        taken = waiting[: full + bool(rest)]
        self._take(room, len(taken))
        if full:
            self.placed.append((taken[:full], each))
            self._give(room - each * length, taken[:full])
        if rest:
            self.placed.append((taken[full:], rest))
            self._give(room - rest * length, taken[full:])
        return full * each + rest

    def _take(self, room: int, number: int) -> None:
        del self.having[room][:number]
        if not self.having[room]:
            del self.having[room]
            del self.rooms[bisect_left(self.rooms, room)]

    def _give(self, room: int, sequences: list[int]) -> None:
        if room and room in self.having:
            self.having[room].extend(sequences)
        elif room:
            insort(self.rooms, room)
            self.having[room] = sequences
