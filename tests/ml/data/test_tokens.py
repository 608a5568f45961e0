from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
tokens = pytest.importorskip("forge.ml.data.tokens")

examples = st.lists(
    st.lists(st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 9), st.booleans()), min_size=1, max_size=9),
    min_size=1,
    max_size=12,
)


def gathered(found: list[Any], cuts: set[int]) -> Any:
    gathering, shards = tokens.Gathering(), []
    for row, example in enumerate(found):
        flags = np.array([flag for _, flag in example], dtype=np.uint8)
        gathering.add(
            10 * row,
            np.array([number for number, _ in example], dtype=np.uint32),
            None if flags.all() else flags,
            int(flags[1:].sum()),
        )
        if row in cuts:
            shards.append(gathering.shard())
    return gathering.finish((*shards, gathering.shard()))


@given(examples, st.sets(st.integers(0, 11)))
@settings(max_examples=100, deadline=None)
def test_examples_come_back_from_any_number_of_shards(found: list[Any], cuts: set[int]) -> None:
    made = gathered(found, cuts)
    assert len(made) == len(found)
    assert made.lengths.tolist() == [len(example) for example in found]
    assert made.rows.tolist() == [10 * row for row in range(len(found))]
    for row, example in enumerate(found):
        ids, learned = made.example(row)
        assert ids.tolist() == [number for number, _ in example]
        assert learned.tolist() == [flag for _, flag in example]


@given(examples, st.sets(st.integers(0, 11)), st.randoms())
@settings(max_examples=50, deadline=None)
def test_tokens_are_found_at_any_addresses(found: list[Any], cuts: set[int], random: Any) -> None:
    made = gathered(found, cuts)
    flat = [pair for example in found for pair in example]
    addresses = [random.randrange(len(flat)) for _ in range(30)]
    assert made.ids_at(np.array(addresses)).tolist() == [flat[at][0] for at in addresses]
    assert made.trained_at(np.array(addresses)).tolist() == [flat[at][1] for at in addresses]


def test_numbers_take_the_room_they_need() -> None:
    small = gathered([[(65_535, True)]], set())
    large = gathered([[(65_536, True)]], set())
    assert (small.shards[0].ids.dtype, large.shards[0].ids.dtype) == (np.uint16, np.uint32)
    assert small.shards[0].bits is None


def test_a_shard_is_full_after_a_bounded_number_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_SHARD", 5)
    gathering = tokens.Gathering()
    gathering.add(0, np.arange(4, dtype=np.uint32), None, 3)
    assert not gathering.full()
    gathering.add(1, np.arange(4, dtype=np.uint32), None, 3)
    assert gathering.full()
    assert len(gathering.shard().ids) == 8
    assert not gathering.full()
