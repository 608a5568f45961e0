from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.plan.shape import ModelShape
from forge.plan.stages import layer_costs, nearest_sizes, split_layers, stage_bounds


@pytest.mark.parametrize(
    ("layers", "stages", "costs", "sizes"),
    [
        (8, 4, {}, [2, 2, 2, 2]),
        (7, 3, {}, [3, 2, 2]),
        (5, 5, {"last_cost": 9.0}, [1, 1, 1, 1, 1]),
        (10, 2, {"last_cost": 4.0}, [7, 3]),
        (10, 2, {"first_cost": 2.0, "last_cost": 2.0}, [5, 5]),
        (32, 4, {"last_cost": 2.4}, [9, 9, 8, 6]),
        (4, 2, {"costs": [1, 1, 1, 3]}, [3, 1]),
        (3, 1, {}, [3]),
    ],
)
def test_stages_take_equally_long(layers: int, stages: int, costs: dict[str, float], sizes: list[int]) -> None:
    assert split_layers(layers, stages, **costs) == sizes  # type: ignore[arg-type]


@given(layers=st.integers(1, 9), data=st.data(), first=st.floats(0, 5, width=16), last=st.floats(0, 5, width=16))
@settings(max_examples=60, deadline=None)
def test_no_cut_has_a_quicker_slowest_stage(layers: int, data: st.DataObject, first: float, last: float) -> None:
    stages = data.draw(st.integers(1, layers))

    def slowest(sizes: list[int]) -> float:
        costs = [float(size) for size in sizes]
        costs[0] += first
        costs[-1] += last
        return max(costs)

    found = split_layers(layers, stages, first_cost=first, last_cost=last)
    assert sum(found) == layers
    assert min(found) >= 1
    cuts = [(0, *inner, layers) for inner in combinations(range(1, layers), stages - 1)]
    least = min(slowest([end - start for start, end in pairwise(cut)]) for cut in cuts)
    assert slowest(found) == pytest.approx(least)


@pytest.mark.parametrize(
    ("layers", "stages", "more", "message"),
    [
        (2, 3, {}, "2 layers cannot be cut into 3 stages"),
        (2, 0, {}, "cannot be cut into 0"),
        (2, 1, {"costs": [1.0]}, "1 costs for 2 layers"),
        (2, 1, {"first_cost": -1.0}, "a cost is at least 0"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(layers: int, stages: int, more: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_layers(layers, stages, **more)  # type: ignore[arg-type]


def test_the_layers_of_each_stage() -> None:
    assert stage_bounds([3, 2, 2]) == [range(3), range(3, 5), range(5, 7)]


@pytest.mark.parametrize(
    ("sizes", "layers", "stages", "nearest"),
    [
        ([7, 8, 8, 9], 32, 4, [7, 8, 8, 9]),
        ([7, 8, 8, 9], 33, 4, [8, 8, 8, 9]),
        ([7, 8, 8, 9], 30, 4, [7, 7, 8, 8]),
        ([0, 8], 8, 2, [1, 7]),
        ([3, 3, 2], 8, 2, [4, 4]),
        ([4, 4], 9, 3, [3, 3, 3]),
    ],
)
def test_the_nearest_sizes(sizes: list[int], layers: int, stages: int, nearest: list[int]) -> None:
    assert nearest_sizes(sizes, layers, stages) == nearest


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), layers=st.integers(1, 20), stages=st.integers(1, 6))
def test_the_nearest_sizes_are_ones_that_can_be(sizes: list[int], layers: int, stages: int) -> None:
    if stages > layers:
        with pytest.raises(ValueError, match="each needs at least one"):
            nearest_sizes(sizes, layers, stages)
        return
    found = nearest_sizes(sizes, layers, stages)
    assert (sum(found), len(found)) == (layers, stages)
    assert min(found) >= 1


def test_a_large_vocabulary_costs_as_much_as_layers() -> None:
    llama = {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    }
    first, last = layer_costs(ModelShape.from_config(llama), 1024)
    assert first == 0
    assert 3 < last < 5
    assert split_layers(16, 2, first_cost=first, last_cost=last) == [10, 6]
