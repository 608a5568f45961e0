from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import DataError
from forge.ml.data.read import file_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("numpy")
stream = pytest.importorskip("forge.ml.data.stream")
worker = pytest.importorskip("forge.ml.data.worker")


@pytest.fixture
def streamed(byte_tokenizer: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    feeds = []

    def make(texts: list[str], seed: int = 0, **changes: Any) -> Any:
        path = tmp_path / f"{len(texts)}.jsonl"
        if not path.exists():  # another feed may be reading it
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        job = worker.Job(byte_tokenizer().backend_tokenizer.to_str(), text="text", end=2)
        shape = {"max_length": 16, "packing": "greedy", "overflow": "split", "window": 10, **changes}
        made = stream.Stream(file_rows([str(path)], streaming=True), job, facts={}, workers=0, **shape)
        feeds.append(made.feed(seed))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


TEXTS = ["x" * (number % 9 + 1) + str(number) for number in range(34)]


def _content(found: list[Any]) -> list[Any]:
    import numpy as np

    return [(split.gather(np.array([number])).ids.tolist(), split.source) for split, number in found]


def _rows(found: list[Any]) -> list[int]:
    import numpy as np

    return [row for split, number in found for row in split.gather(np.array([number])).rows.tolist()]


def test_an_epoch_has_all_rows_and_the_next_begins_again(streamed: Callable[..., Any]) -> None:
    feed = streamed(TEXTS, packing="none")
    cursor = feed.start()
    orders = []
    for epoch in range(3):
        assert feed.epoch(cursor) == epoch
        found, cursor = feed.take(cursor, 34)
        orders.append(_rows(found))
        assert sorted(orders[-1]) == list(range(34))
    assert orders[0] != orders[1]
    # Rows are shuffled within their window, and windows keep their order.
    assert [row // 10 for row in orders[0]] == sorted(row // 10 for row in range(34))


@pytest.mark.parametrize("packing", ["none", "greedy", "best_fit"])
def test_it_goes_on_from_any_cursor(streamed: Callable[..., Any], packing: str) -> None:
    feed = streamed(TEXTS, packing=packing)
    whole, _ = feed.take(feed.start(), 60)
    cursor, taken = feed.start(), 0
    while taken < 60:
        other = streamed(TEXTS, packing=packing)
        rest, _ = other.take(json.loads(json.dumps(cursor)), 60 - taken)
        assert _content(rest) == _content(whole[taken:])
        _, cursor = feed.take(cursor, 7)
        taken += 7


@pytest.mark.parametrize("count", [10, 20, 1])
def test_an_end_at_the_edge_of_a_window_is_an_end(streamed: Callable[..., Any], count: int) -> None:
    feed = streamed(TEXTS[:count], packing="none")
    found, cursor = feed.take(feed.start(), 2 * count)
    assert sorted(_rows(found)) == sorted(2 * list(range(count)))
    _, cursor = feed.take(cursor, 1)
    assert feed.epoch(cursor) in (2.0, 3.0)


def test_what_is_read_is_reported_once(streamed: Callable[..., Any]) -> None:
    feed = streamed(["", *TEXTS], packing="none")
    feed.take(feed.start(), 100)
    report = feed.stream.report
    assert (report.rows, report.examples, report.dropped["an empty document"].first) == (35, 34, [(0, "")])


def test_a_row_that_is_not_used_is_named_with_its_place(streamed: Callable[..., Any], tmp_path: Path) -> None:
    feed = streamed([*TEXTS[:14], "", *TEXTS[14:], ""], packing="none")
    feed.take(feed.start(), 34)
    place = f"{tmp_path / '36.jsonl'}:15"
    assert feed.stream.report.lines() == [f"2 of 36 rows not used: an empty document; the first is row 14 ({place})"]


def test_a_report_that_was_looked_at_stays_as_it_was(streamed: Callable[..., Any]) -> None:
    feed = streamed(["", *TEXTS], packing="none")
    before = feed.stream.report
    feed.take(feed.start(), 100)
    assert (before.rows, before.dropped) == (0, {})


def test_a_stream_without_anything_to_learn_is_an_error_and_no_endless_search(streamed: Callable[..., Any]) -> None:
    feed = streamed([""] * 25)
    with pytest.raises(DataError, match="the stream has nothing to learn\n  25 of 25 rows not used: an empty"):
        feed.take(feed.start(), 1)


def test_windows_without_anything_are_passed_over(streamed: Callable[..., Any]) -> None:
    feed = streamed([*[""] * 25, "abc"], packing="none")
    found, cursor = feed.take(feed.start(), 2)
    assert _rows(found) == [25, 25]
    assert feed.epoch(cursor) >= 1


def test_an_error_of_the_rows_reaches_the_run(streamed: Callable[..., Any], tmp_path: Path) -> None:
    feed = streamed(TEXTS)
    (tmp_path / "34.jsonl").write_text('{"text": "a"}\n{')
    with pytest.raises(DataError, match=r"34.jsonl:2"):
        feed.take(feed.start(), 1)


def test_the_size_of_a_window_is_a_fact(streamed: Callable[..., Any]) -> None:
    assert streamed(TEXTS).facts() == streamed(TEXTS).facts()
    assert streamed(TEXTS, window=11).facts() != streamed(TEXTS).facts()
