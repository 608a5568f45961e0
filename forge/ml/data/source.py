"""What all rows have in common, wherever they come from: they can be read again, told apart, and found again."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from forge.base.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["RowSource", "check_not_empty", "columns_of", "fingerprint", "is_streaming", "place_of", "rows_from"]

_LOOKED_AT = 64


@runtime_checkable
class RowSource(Protocol):
    """Rows that know themselves where they come from; a sequence in memory needs none of this."""

    streaming: bool
    name: str

    def __iter__(self) -> Iterator[Any]:
        """The rows, from the first; again and again."""

    def fingerprint(self) -> str:
        """A hash of the content: two sources with the same one have the same rows."""

    def place(self, row: int) -> str:
        """Where a row stands, for people: ``data.jsonl:12``; empty when there is nothing to say."""

    def rows_from(self, first: int) -> Iterator[Any]:
        """The rows from this number on."""


def fingerprint(rows: Iterable[Any]) -> str:
    """A hash of the content of rows."""
    if isinstance(rows, RowSource):
        return rows.fingerprint()
    _refuse_iterator(rows)
    digest = hashlib.blake2b(digest_size=16)
    for number, row in enumerate(rows):
        try:
            digest.update(json.dumps(row).encode())
        except (TypeError, ValueError) as error:
            raise DataError(
                f"row {number} holds what is not plain data: {error}",
                hint="rows hold texts, numbers, lists and mappings",
            ) from error
        digest.update(b"\n")
    return digest.hexdigest()


def is_streaming(rows: Iterable[Any]) -> bool:
    """Whether rows are read while the run goes on, and not before."""
    return isinstance(rows, RowSource) and rows.streaming


def place_of(rows: Iterable[Any], row: int) -> str:
    """Where a row stands, for people; empty when there is nothing to say."""
    return rows.place(row) if isinstance(rows, RowSource) else ""


def rows_from(rows: Iterable[Any], first: int) -> Iterator[Any]:
    """The rows from a number on."""
    return rows.rows_from(first) if isinstance(rows, RowSource) else islice(iter(rows), first, None)


def columns_of(rows: Iterable[Any]) -> list[str]:
    """The columns of the first rows, in the order in which they are met."""
    found: dict[str, None] = {}
    for number, row in enumerate(islice(iter(rows), _LOOKED_AT)):
        if not isinstance(row, dict):
            where = place_of(rows, number)
            raise DataError(
                f"row {number}{f' ({where})' if where else ''} is {type(row).__name__}, not a mapping of columns",
                hint="a dataset of documents is a TextCorpus",
            )
        found |= dict.fromkeys(row)
    return list(found)


def check_not_empty(rows: Iterable[Any], what: str) -> None:
    """DataError when there is no row at all."""
    if next(iter(rows), None) is None:
        where = f": there is none in {rows.name}" if isinstance(rows, RowSource) else ""
        raise DataError(f"{what} has no rows{where}", hint="name other files, another split, or another function")


def _refuse_iterator(rows: Iterable[Any]) -> None:
    if iter(rows) is rows:
        raise DataError(
            f"rows are read more than once, and a {type(rows).__name__} gives them only once",
            hint="return a list or a tuple",
        )
