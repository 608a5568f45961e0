"""Rows held out of those to learn from: a share of them, or the first ones; and the rows that are left.

Which rows these are depends on their numbers alone, so that the two parts are the same in every run, whatever its seed. For a share
the rows are cut into blocks of equal length, and one row of each block is held out: a file that is sorted by subject is held out evenly.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from forge.ml.data.source import RowSource, fingerprint, is_streaming, place_of, rows_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["RowPart", "parted"]

_MOST: Final = 0.5
_FINEST: Final = 1_000_000  # one row in so many is the least share


def parted(rows: Iterable[Any], wanted: float | str) -> tuple[RowPart, RowPart]:
    """The rows that are left to learn from, and those held out: a share of all, or a whole number of the first."""
    choice = _choice(wanted)
    if isinstance(choice, _Share) and is_streaming(rows):
        raise ValueError(f"held_out is {wanted}, and a share of a stream has no end: give a whole number of rows")
    return RowPart(rows, choice, held_out=False), RowPart(rows, choice, held_out=True)


@dataclass(frozen=True)
class RowPart:
    """The rows of others that are held out, or those that are not, in their order."""

    rows: Iterable[Any]
    choice: _Choice
    held_out: bool

    def __iter__(self) -> Iterator[Any]:
        return self.rows_from(0)

    @property
    def streaming(self) -> bool:
        """Whether rows are read while the run goes on; those held out are read before it."""
        return is_streaming(self.rows) and not self.held_out

    @property
    def name(self) -> str:
        """Where the rows come from, and which of them they are."""
        return self.choice.called(
            self.rows.name if isinstance(self.rows, RowSource) else "the rows", held_out=self.held_out
        )

    def rows_from(self, first: int) -> Iterator[Any]:
        """The rows from this number on."""
        begin = self._number(first)
        rows = rows_from(self.rows, begin)
        if self.held_out and self.choice.end is not None:
            rows = islice(rows, max(self.choice.end - begin, 0))
        return (row for number, row in enumerate(rows, begin) if self.choice.holds(number) == self.held_out)

    def fingerprint(self) -> str:
        """A hash of all rows and of what is chosen from them."""
        described = f"{fingerprint(self.rows)} {self.choice} {self.held_out}"
        return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def place(self, row: int) -> str:
        """Where a row stands among all, for people."""
        number = self._number(row)
        return place_of(self.rows, number) or f"row {number} of all"

    def _number(self, row: int) -> int:
        """The number among all rows of a row of this part."""
        return self.choice.held(row) if self.held_out else self.choice.left(row)


class _Choice(Protocol):
    """Which rows are held out, told by their numbers."""

    @property
    def end(self) -> int | None:
        """The number behind the last that may be held out; None when there is no last."""

    def called(self, rows: str, *, held_out: bool) -> str:
        """The rows that are held out, or those that are left, in words."""

    def holds(self, number: int) -> bool:
        """Whether the row of this number is held out."""

    def held(self, place: int) -> int:
        """The number of the row that is held out after so many others."""

    def left(self, place: int) -> int:
        """The number of the row that is left after so many others."""


@dataclass(frozen=True)
class _First:
    """The first rows."""

    rows: int

    @property
    def end(self) -> int | None:
        return self.rows

    def called(self, rows: str, *, held_out: bool) -> str:
        return f"the first {self.rows:,} rows of {rows}" if held_out else f"{rows} behind the first {self.rows:,} rows"

    def holds(self, number: int) -> bool:
        return number < self.rows

    def held(self, place: int) -> int:
        return place

    def left(self, place: int) -> int:
        return self.rows + place


@dataclass(frozen=True)
class _Share:
    """One row of each block; the blocks differ in length by one at most, so that on the whole the share is exact."""

    share: Fraction

    @property
    def end(self) -> int | None:
        return None

    def called(self, rows: str, *, held_out: bool) -> str:
        return f"a share of {float(self.share):g} of {rows}" if held_out else rows

    def holds(self, number: int) -> bool:
        return number == self.held(self._block(number))

    def held(self, place: int) -> int:
        begin = self._begin(place)
        return begin + zlib.crc32(place.to_bytes(8, "little")) % (self._begin(place + 1) - begin)

    def left(self, place: int) -> int:
        block = int(place * self.share / (1 - self.share))
        while self._begin(block + 1) - (block + 1) <= place:  # rounding leaves it one short at times
            block += 1
        number = self._begin(block) + place - (self._begin(block) - block)
        return number + (number >= self.held(block))

    def _begin(self, block: int) -> int:
        return -(-block * self.share.denominator // self.share.numerator)

    def _block(self, number: int) -> int:
        return number * self.share.numerator // self.share.denominator


def _choice(wanted: float | str) -> _Choice:
    if not isinstance(wanted, bool | str):
        if 0 < wanted <= _MOST:
            return _Share(max(Fraction(str(wanted)).limit_denominator(_FINEST), Fraction(1, _FINEST)))
        if wanted >= 1 and float(wanted).is_integer():
            return _First(int(wanted))
    raise ValueError(
        f"held_out is rows of their own, a share of at most {_MOST} of the rows to learn from, or a whole number of them, not {wanted!r}"
    )
