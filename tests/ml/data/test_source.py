from __future__ import annotations

import pytest

from forge.base.errors import DataError
from forge.ml.data.source import (
    RowSource,
    check_not_empty,
    columns_of,
    fingerprint,
    is_streaming,
    place_of,
    rows_from,
)


class Numbered:
    """Rows that know where they come from."""

    streaming = True
    name = "the numbers"

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self):  # noqa: ANN204
        return self.rows_from(0)

    def rows_from(self, first: int):  # noqa: ANN201
        return iter([{"n": number} for number in range(first, self.count)])

    def fingerprint(self) -> str:
        return f"numbers {self.count}"

    def place(self, row: int) -> str:
        return f"number {row}"


def test_rows_in_memory_are_told_apart_by_their_content() -> None:
    assert fingerprint(["a", "b"]) == fingerprint(("a", "b"))
    prints = {fingerprint(rows) for rows in (["a", "b"], ["b", "a"], ["a", "b", ""], ["ab"], [{"a": 1}], [{"a": "1"}])}
    assert len(prints) == 6


def test_rows_that_know_themselves_answer_for_themselves() -> None:
    rows = Numbered(3)
    assert isinstance(rows, RowSource)
    assert (fingerprint(rows), place_of(rows, 2), is_streaming(rows)) == ("numbers 3", "number 2", True)
    assert list(rows_from(rows, 2)) == [{"n": 2}]


def test_rows_in_memory_have_no_place_and_do_not_stream() -> None:
    assert (place_of(["a"], 0), is_streaming(["a"])) == ("", False)
    assert list(rows_from("abc", 1)) == ["b", "c"]


def test_columns_are_those_of_the_first_rows_together() -> None:
    assert columns_of([{"a": 1}, {"b": 2, "a": 3}]) == ["a", "b"]
    with pytest.raises(DataError, match="row 1 is str, not a mapping"):
        columns_of([{"a": 1}, "text"])


def test_no_rows_are_an_error_that_says_where() -> None:
    check_not_empty(["a"], "the dataset")
    with pytest.raises(DataError, match="the dataset has no rows\n"):
        check_not_empty([], "the dataset")
    with pytest.raises(DataError, match="the dataset has no rows: there is none in the numbers"):
        check_not_empty(Numbered(0), "the dataset")


def test_rows_that_come_only_once_are_refused() -> None:
    with pytest.raises(DataError, match="a generator gives them only once"):
        fingerprint(row for row in "ab")


def test_a_value_that_is_not_plain_data_is_named_with_its_row() -> None:
    with pytest.raises(DataError, match="row 1 holds what is not plain data: Object of type bytes"):
        fingerprint([{"a": 1}, {"a": b"1"}])
