"""Sequences to learn from: encoded examples and the plan by which pieces of them are packed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forge.ml.data.order import permuted
from forge.ml.data.pack import Plan, plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.ml.data.pack import Overflow, Packing
    from forge.ml.data.report import Report
    from forge.ml.data.tokens import Tokens

__all__ = ["Gathered", "Split", "SplitFeed", "split_of"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Some sequences, token after token, without padding."""

    ids: np.ndarray  # int64
    targets: np.ndarray  # int64: the token that follows
    learned: np.ndarray  # bool: whether that token is learned
    positions: np.ndarray  # int64, from 0 in each piece
    pieces: np.ndarray  # int64: the length of each piece
    rows: np.ndarray  # int64: the row of each piece
    counts: np.ndarray  # int64: the number of pieces of each sequence


@dataclass(frozen=True, eq=False)
class Split:
    """Sequences of at most ``max_length`` tokens. Those of one split are numbered from 0."""

    tokens: Tokens
    plan: Plan
    max_length: int
    packing: Packing
    overflow: Overflow
    facts: Mapping[str, Any]  # what the sequences depend on
    report: Report
    source: int = 0  # which dataset of a mixture it is

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def packed(self) -> bool:
        """Whether a sequence may hold several documents."""
        return self.packing != "none"

    @property
    def efficiency(self) -> float:
        """Which part of the room in the sequences is filled with tokens."""
        return self.plan.efficiency(self.max_length)

    def feed(self, seed: int) -> SplitFeed:
        """These sequences again and again, in another order each time."""
        return SplitFeed(self, seed)

    def gather(self, sequences: np.ndarray) -> Gathered:
        """The content of some sequences, in this order."""
        bounds = self.plan.sequences
        counts = bounds[sequences + 1] - bounds[sequences]
        piece = _ranges(bounds[sequences], counts)
        example = self.plan.example[piece]
        first = self.tokens.starts[example] + self.plan.start[piece]
        lengths = self.plan.length[piece]
        positions = _ranges(np.zeros_like(lengths), lengths)
        addresses = np.repeat(first, lengths) + positions
        # The token that follows the last one of a piece is learned only where the document goes on in another piece.
        ends = self.tokens.starts[example + 1] if self.overflow == "split" else first + lengths
        follows = addresses + 1 < np.repeat(ends, lengths)
        following = np.where(follows, addresses + 1, addresses)
        return Gathered(
            ids=self.tokens.ids_at(addresses),
            targets=self.tokens.ids_at(following),
            learned=self.tokens.trained_at(following) & follows,
            positions=positions,
            pieces=lengths,
            rows=self.tokens.rows[example],
            counts=counts,
        )


class SplitFeed:
    """A split as a run sees it: epoch after epoch, each in the order that its seed and its number decide.

    A cursor is the number of sequences taken so far; a batch that is begun in one epoch is filled from the next.
    """

    def __init__(self, split: Split, seed: int) -> None:
        self.split = split
        self.seed = seed
        self.length = len(split)

    def facts(self) -> dict[str, Any]:
        """What has to be the same for a cursor to mean the same."""
        return {**self.split.facts, "seed": self.seed}

    def start(self) -> int:
        """The cursor of a run that begins."""
        return 0

    def take(self, cursor: int, count: int) -> tuple[list[tuple[Split, int]], int]:
        """The next sequences, and the cursor behind them."""
        places = np.arange(cursor, cursor + count)
        numbers = np.empty(count, dtype=np.int64)
        for epoch in range(cursor // self.length, (cursor + count - 1) // self.length + 1):
            within = places // self.length == epoch
            key = (self.seed, self.split.source, epoch)
            numbers[within] = permuted(self.length, key, places[within] % self.length)
        return [(self.split, number) for number in numbers.tolist()], cursor + count

    def epoch(self, cursor: int) -> float:
        """How many times all sequences have been taken."""
        return cursor / self.length

    def close(self) -> None:
        """Nothing is held open."""


def split_of(
    tokens: Tokens,
    report: Report,
    *,
    max_length: int,
    packing: Packing,
    overflow: Overflow,
    facts: Mapping[str, Any],
    source: int = 0,
) -> Split:
    """Pack examples into sequences; the report gains what that does to them."""
    report = report.copy()
    lengths, learned = tokens.lengths, tokens.learned
    long = np.flatnonzero(lengths > max_length)
    if overflow != "split":
        learned = _shorten(tokens, long, max_length, report, dropping=overflow == "drop")
    found = plan(np.where(learned > 0, lengths, 0), max_length, packing, overflow)
    report.examples, report.sequences = int(np.count_nonzero(learned)), len(found)
    report.tokens, report.trained = int(found.length.sum()), int(learned.sum())
    about = {"max_length": max_length, "packing": packing, "overflow": overflow, "sequences": _checksum(found)}
    return Split(tokens, found, max_length, packing, overflow, {**facts, **about}, report, source)


def _shorten(tokens: Tokens, long: np.ndarray, max_length: int, report: Report, *, dropping: bool) -> np.ndarray:
    """How many tokens of each example are learned once those that are too long are cut or left out."""
    learned = tokens.learned.copy()
    for number in long.tolist():
        row, length = int(tokens.rows[number]), int(tokens.starts[number + 1] - tokens.starts[number])
        start = int(tokens.starts[number])
        # The first token has none before it that could predict it.
        kept = 0 if dropping else int(tokens.trained_at(np.arange(start + 1, start + max_length)).sum())
        learned[number] = kept
        detail = f"{length:,} tokens"
        if dropping:
            report.drop(f"longer than {max_length:,} tokens", row, detail)
        elif kept:
            report.shorten(f"cut to {max_length:,} tokens", row, detail)
        else:
            report.drop(f"nothing to learn in the first {max_length:,} tokens", row, detail)
    return learned


def _checksum(found: Plan) -> str:
    value = len(found)
    for array in (found.example, found.start, found.length, found.sequences):
        value = zlib.crc32(np.ascontiguousarray(array, dtype="<i8").data, value)
    return f"{len(found)}:{value:08x}"


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``starts[0], starts[0] + 1, ...`` for each count, one range after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - counts), counts)
