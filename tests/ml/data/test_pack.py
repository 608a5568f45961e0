from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
pack = pytest.importorskip("forge.ml.data.pack")

PACKINGS = ["none", "greedy", "best_fit"]
OVERFLOWS = ["truncate", "drop", "split"]
lengths_and_room = st.integers(2, 40).flatmap(
    lambda room: st.tuples(st.just(room), st.lists(st.integers(0, 3 * room), max_size=60))
)


def sums(found: object) -> list[int]:
    return [int(found.length[a:b].sum()) for a, b in zip(found.sequences[:-1], found.sequences[1:], strict=True)]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
@given(given_lengths=lengths_and_room)
@settings(max_examples=100, deadline=None)
def test_no_sequence_is_empty_or_too_long(packing: str, overflow: str, given_lengths: tuple[int, list[int]]) -> None:
    room, lengths = given_lengths
    found = pack.plan(np.array(lengths, dtype=np.int64), room, packing, overflow)
    assert all(0 < total <= room for total in sums(found))
    assert found.sequences[0] == 0
    assert found.sequences[-1] == len(found.example)


@pytest.mark.parametrize("packing", PACKINGS)
@given(given_lengths=lengths_and_room)
@settings(max_examples=100, deadline=None)
def test_split_examples_are_whole_but_for_a_last_token_that_stands_alone(
    packing: str, given_lengths: tuple[int, list[int]]
) -> None:
    room, lengths = given_lengths
    found = pack.plan(np.array(lengths, dtype=np.int64), room, packing, "split")
    reached = dict.fromkeys(range(len(lengths)), 0)
    for example, start, length in sorted(zip(found.example, found.start, found.length, strict=True)):
        assert reached[example] == start
        reached[example] = start + length
    for example, length in enumerate(lengths):
        assert length - reached[example] in (0, 1)
        assert reached[example] > 0 or length == 0


@pytest.mark.parametrize("packing", PACKINGS)
@given(given_lengths=lengths_and_room)
@settings(max_examples=50, deadline=None)
def test_each_example_that_is_kept_is_there_once(packing: str, given_lengths: tuple[int, list[int]]) -> None:
    room, lengths = given_lengths
    array = np.array(lengths, dtype=np.int64)
    for overflow, kept in (
        ("drop", [n for n, length in enumerate(lengths) if 0 < length <= room]),
        ("truncate", [n for n, length in enumerate(lengths) if length]),
    ):
        found = pack.plan(array, room, packing, overflow)
        assert sorted(found.example.tolist()) == kept
        assert not found.start.any()
        assert found.length.tolist() == np.minimum(array[found.example], room).tolist()


@given(given_lengths=lengths_and_room)
@settings(max_examples=150, deadline=None)
def test_best_fit_is_what_one_piece_at_a_time_gives(given_lengths: tuple[int, list[int]]) -> None:
    room, lengths = given_lengths
    found = pack.plan(np.array(lengths, dtype=np.int64), room, "best_fit", "drop")
    left: list[int] = []
    for length in sorted((length for length in lengths if 0 < length <= room), reverse=True):
        fitting = [(free, number) for number, free in enumerate(left) if free >= length]
        if fitting:
            left[min(fitting)[1]] -= length
        else:
            left.append(room - length)
    assert sorted(sums(found)) == sorted(room - free for free in left)


def test_greedy_keeps_the_order_and_ends_a_sequence_before_what_does_not_fit() -> None:
    found = pack.plan(np.array([3, 4, 5, 1, 9]), 8, "greedy", "drop")
    assert found.example.tolist() == [0, 1, 2, 3]
    assert found.sequences.tolist() == [0, 2, 4]


def test_greedy_cuts_the_row_of_all_documents() -> None:
    found = pack.plan(np.array([5, 4]), 3, "greedy", "split")
    assert sums(found) == [3, 3, 3]
    assert found.example.tolist() == [0, 0, 1, 1]
    assert found.start.tolist() == [0, 3, 0, 1]


@pytest.mark.parametrize("packing", ["greedy", "none"])
def test_a_last_token_alone_gets_no_sequence(packing: str) -> None:
    assert sums(pack.plan(np.array([7]), 3, packing, "split")) == [3, 3]


def test_no_examples_are_no_sequences() -> None:
    for packing in PACKINGS:
        for overflow in OVERFLOWS:
            found = pack.plan(np.array([], dtype=np.int64), 8, packing, overflow)
            assert len(found) == 0
            assert found.efficiency(8) == 0


def test_a_million_examples_are_packed_tightly() -> None:
    generator = np.random.default_rng(0)
    lengths = np.minimum(2048, generator.lognormal(5.5, 1.0, 1_000_000).astype(np.int64) + 1)
    found = pack.plan(lengths, 2048, "best_fit", "drop")
    assert found.efficiency(2048) > 0.9999
    assert np.array_equal(np.sort(found.example), np.arange(1_000_000))
