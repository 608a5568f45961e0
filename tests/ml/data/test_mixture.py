from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.base.errors import DataError

np = pytest.importorskip("numpy")
mixture = pytest.importorskip("forge.ml.data.mixture")
report_module = pytest.importorskip("forge.ml.data.report")


class Counted:
    """A feed of so many numbers, one after another; its split is its name."""

    def __init__(self, name: str, length: int | None) -> None:
        self.name, self.length = name, length
        self.closed = False

    def facts(self) -> dict[str, Any]:
        return {"length": self.length}

    def start(self) -> int:
        return 0

    def take(self, cursor: int, count: int) -> tuple[list[Any], int]:
        return [(self.name, number % (self.length or 5)) for number in range(cursor, cursor + count)], cursor + count

    def epoch(self, cursor: int) -> float:
        return float(cursor // (self.length or 5))

    def close(self) -> None:
        self.closed = True


def _mixed(lengths: dict[str, int | None], weights: dict[str, float] | None) -> Any:
    return mixture.MixedFeed({name: Counted(name, length) for name, length in lengths.items()}, weights, (1, 0))


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(1, 40), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_without_weights_an_epoch_has_each_sequence_once(lengths: dict[str, int]) -> None:
    feed = _mixed(lengths, None)
    cursor = feed.start()
    everything = sorted((name, number) for name, length in lengths.items() for number in range(length))
    for epoch in range(3):
        found, cursor = feed.take(cursor, feed.length)
        assert sorted(found) == everything
        assert feed.epoch(cursor) == epoch + 1


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_shares_are_close_to_the_weights(weights: list[float]) -> None:
    shares = mixture.shares(weights)
    block = sum(shares)
    assert min(shares) >= 15
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share / block - weight / sum(weights)) < 1 / block


def test_weights_say_how_often_each_comes() -> None:
    feed = _mixed({"a": 10, "b": 1000}, {"a": 3, "b": 1})
    found, _ = feed.take(feed.start(), 4096)
    assert sum(name == "a" for name, _ in found) == 3072
    within = [sum(name == "a" for name, _ in found[at : at + 64]) for at in range(0, 4096, 64)]
    assert min(within) > 32
    assert [number for name, number in found if name == "b"] == [number % 1000 for number in range(1024)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10))
@settings(max_examples=40, deadline=None)
def test_it_does_not_matter_how_many_are_taken_at_once(counts: list[int]) -> None:
    feed = _mixed({"a": 7, "b": 30}, {"a": 1, "b": 2})
    found, cursor = [], feed.start()
    for count in counts:
        taken, cursor = feed.take(cursor, count)
        found += taken
    assert (found, cursor) == feed.take(feed.start(), sum(counts))


def test_facts_and_end_are_those_of_all_feeds() -> None:
    feed = _mixed({"a": 7, "b": 30}, {"a": 1, "b": 2})
    assert feed.facts()["a: length"] == 7
    assert feed.facts()["weights"] == {"a": 1, "b": 2}
    feed.close()
    assert all(each.closed for each in feed.feeds.values())


def test_with_a_stream_the_length_is_not_known() -> None:
    feed = _mixed({"a": 7, "b": None}, {"a": 1, "b": 1})
    assert feed.length is None
    assert feed.epoch({"place": 40, "parts": {"a": 20, "b": 9}}) == 1.0


def test_a_stream_needs_weights() -> None:
    with pytest.raises(DataError, match="how often b comes in the mixture is not known"):
        mixture.Mixed({"a": [1, 2], "b": object()}, None, 0)
