from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
split_module = pytest.importorskip("forge.ml.data.split")
tokens_module = pytest.importorskip("forge.ml.data.tokens")
report_module = pytest.importorskip("forge.ml.data.report")

conversations = st.lists(
    st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), min_size=2, max_size=30), min_size=1, max_size=15
)


def _tokens(found: list[list[tuple[int, bool]]]) -> Any:
    gathering = tokens_module.Gathering()
    for row, example in enumerate(found):
        flags = np.array([flag and at > 0 for at, (_, flag) in enumerate(example)], dtype=np.uint8)
        if flags.any():
            ids = np.array([number for number, _ in example], dtype=np.uint32)
            gathering.add(row, ids, flags, int(flags.sum()))
    return gathering.finish((gathering.shard(),))


def _split(found: list[list[tuple[int, bool]]], max_length: int, packing: str, overflow: str) -> Any:
    report = report_module.Report(rows=len(found))
    shape = {"max_length": max_length, "packing": packing, "overflow": overflow}
    return split_module.split_of(_tokens(found), report, facts={"rows": "r"}, **shape)


def _learned(split: Any) -> list[tuple[int, int, int]]:
    """What is learned: the row, the token, the token that follows."""
    found = split.gather(np.arange(len(split)))
    row = np.repeat(found.rows, found.pieces)
    triples = zip(row.tolist(), found.ids.tolist(), found.targets.tolist(), found.learned.tolist(), strict=True)
    return sorted((row, token, following) for row, token, following, learned in triples if learned)


def _expected(found: list[list[tuple[int, bool]]], longest: int, *, drop: bool = False) -> list[tuple[int, int, int]]:
    return sorted(
        (row, example[at - 1][0], example[at][0])
        for row, example in enumerate(found)
        if not (drop and len(example) > longest)
        for at in range(1, min(len(example), longest))
        if example[at][1]
    )


@pytest.mark.parametrize("packing", ["none", "greedy", "best_fit"])
@given(found=conversations, max_length=st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_each_token_that_is_to_be_learned_is_learned_once_after_the_token_before_it(
    packing: str, found: list[Any], max_length: int
) -> None:
    assert _learned(_split(found, max_length, packing, "split")) == _expected(found, 99)
    assert _learned(_split(found, max_length, packing, "truncate")) == _expected(found, max_length)
    assert _learned(_split(found, max_length, packing, "drop")) == _expected(found, max_length, drop=True)


@given(found=conversations, max_length=st.integers(2, 12), overflow=st.sampled_from(["truncate", "drop", "split"]))
@settings(max_examples=60, deadline=None)
def test_the_report_says_what_is_in_the_sequences(found: list[Any], max_length: int, overflow: str) -> None:
    split = _split(found, max_length, "best_fit", overflow)
    gathered = split.gather(np.arange(len(split)))
    assert split.report.tokens == len(gathered.ids)
    assert split.report.trained == int(gathered.learned.sum())
    assert split.report.sequences == len(split)
    used = set(gathered.rows.tolist())
    lost = sum(loss.count for loss in split.report.dropped.values())
    assert len(used) == split.report.examples
    assert len(used) + lost == len(split.tokens)


@given(found=conversations)
@settings(max_examples=30, deadline=None)
def test_positions_begin_anew_in_each_piece(found: list[Any]) -> None:
    split = _split(found, 8, "greedy", "split")
    gathered = split.gather(np.arange(len(split)))
    expected = [place for length in gathered.pieces.tolist() for place in range(length)]
    assert gathered.positions.tolist() == expected
    assert int(gathered.counts.sum()) == len(gathered.pieces)


def test_rows_that_are_too_long_are_counted_and_named() -> None:
    long = [[(5, False)] * 5 + [(6, True)] * 5, [(7, True)] * 10, [(8, True)] * 3]
    cut = _split(long, 4, "none", "truncate").report
    assert cut.dropped["nothing to learn in the first 4 tokens"].first == [(0, "10 tokens")]
    assert cut.shortened["cut to 4 tokens"].first == [(1, "10 tokens")]
    assert _split(long, 4, "none", "drop").report.dropped["longer than 4 tokens"].count == 2
    assert _split(long, 4, "none", "split").report.dropped == {}


def test_a_feed_gives_each_sequence_once_an_epoch_from_any_cursor() -> None:
    split = _split([[(number, True)] * 3 for number in range(7)], 8, "none", "drop")
    feed = split.feed(3)
    whole, end = feed.take(feed.start(), 14)
    numbers = [number for _, number in whole]
    assert sorted(numbers[:7]) == sorted(numbers[7:]) == list(range(7))
    assert numbers[:7] != numbers[7:]
    assert (end, feed.epoch(end), feed.length) == (14, 2.0, 7)
    assert [number for _, number in feed.take(5, 4)[0]] == numbers[5:9]
    assert [number for _, number in split.feed(4).take(0, 7)[0]] != numbers[:7]


def test_facts_tell_what_sequences_depend_on() -> None:
    rows = [[(number, True)] * (number + 2) for number in range(7)]
    facts = _split(rows, 8, "none", "drop").feed(3).facts()
    assert facts == _split(rows, 8, "none", "drop").feed(3).facts()
    for other, changed in (
        (_split(rows, 8, "greedy", "drop").feed(3), {"packing", "sequences"}),
        (_split(rows, 8, "none", "drop").feed(4), {"seed"}),
        (_split(rows[:-1], 8, "none", "drop").feed(3), {"sequences"}),
    ):
        assert {name for name, fact in other.facts().items() if fact != facts[name]} == changed
