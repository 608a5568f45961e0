from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
order = pytest.importorskip("forge.ml.data.order")

PINNED_TEN = [4, 2, 6, 1, 5, 3, 0, 8, 9, 7]
PINNED_HASH = "1ee592859fc041de1f3f3605ca182c6df06b80f623807cc44b5da0107f4c6110"


@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_each_number_comes_once(count: int, seed: int, epoch: int) -> None:
    found = order.permuted(count, (seed, epoch), np.arange(count))
    assert sorted(found.tolist()) == list(range(count))


@given(st.integers(1, 2**48), st.data())
@settings(max_examples=100, deadline=None)
def test_any_place_can_be_asked_alone(count: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    together = order.permuted(count, (7, 0), np.array(places)).tolist()
    assert together == [int(order.permuted(count, (7, 0), np.array([place]))[0]) for place in places]
    assert all(0 <= number < count for number in together)
    assert len(set(together)) == len(set(places))


def test_another_seed_and_another_epoch_are_another_order() -> None:
    orders = [tuple(order.permuted(100, key, np.arange(100)).tolist()) for key in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len(set(orders)) == 4


def test_all_orders_of_a_few_are_about_equally_frequent() -> None:
    found = Counter(tuple(order.permuted(4, (seed,), np.arange(4)).tolist()) for seed in range(6000))
    assert len(found) == 24
    assert min(found.values()) > 170
    assert max(found.values()) < 340


def test_a_number_is_as_likely_at_any_place() -> None:
    count, seeds = 37, 2000
    at_first = Counter(int(order.permuted(count, (seed, 3), np.array([0]))[0]) for seed in range(seeds))
    expected = seeds / count
    chi_squared = sum((at_first[number] - expected) ** 2 / expected for number in range(count))
    assert chi_squared < 75  # 36 degrees of freedom: beyond this once in ten thousand times


def test_neighbours_are_torn_apart() -> None:
    found = order.permuted(100_000, (5, 0), np.arange(100_000))
    assert np.count_nonzero(np.abs(np.diff(found)) == 1) < 20


def test_the_order_is_the_same_for_ever() -> None:
    assert order.permuted(10, (42, 0), np.arange(10)).tolist() == PINNED_TEN
    found = order.permuted(1_000_003, (42, 1), np.arange(1000)).astype("<i8").tobytes()
    assert hashlib.sha256(found).hexdigest() == PINNED_HASH


def test_nothing_cannot_be_permuted() -> None:
    with pytest.raises(ValueError, match="at least 1 number"):
        order.permuted(0, (1,), np.arange(0))
