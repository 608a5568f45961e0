from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from forge.ml.serve.slots import SlotCache  # noqa: E402 - it needs torch

pytestmark = pytest.mark.torch


def _states(rows: int, tokens: int, first: float) -> torch.Tensor:
    return torch.arange(rows * tokens, dtype=torch.float32).add(first).reshape(rows, 1, tokens, 1)


def _put(cache: SlotCache, first: int, positions: list[list[int]], value: float, length: int) -> torch.Tensor:
    places = torch.tensor(positions)
    cache.reserve(first + len(places), length)
    cache.place(first, places, length)
    states = _states(*places.shape, value)
    return cache.update(states, -states, 0)[0][:, 0, :, 0]


def test_rows_are_written_where_they_stand_and_read_side_by_side() -> None:
    cache = SlotCache(1)
    assert _put(cache, 0, [[0, 1, 2], [0, 1, 2]], 10.0, 3).tolist() == [[10, 11, 12], [13, 14, 15]]
    assert _put(cache, 0, [[3], [1]], 50.0, 4).tolist() == [[10, 11, 12, 50], [13, 51, 15, 0]]
    assert _put(cache, 1, [[0]], 7.0, 1).tolist() == [[7]]
    assert cache.get_seq_length() == 1


def test_room_grows_and_keeps_what_is_there() -> None:
    cache = SlotCache(1)
    _put(cache, 0, [[0, 1]], 1.0, 2)
    assert (cache.rows, cache.capacity) == (1, 128)
    found = _put(cache, 0, [[200], [0], [0]], 9.0, 201)
    assert (cache.rows, cache.capacity) == (4, 256)
    assert found[0, :2].tolist() == [1, 2]
    cache.release()
    assert (cache.rows, cache.capacity, cache.layers[0].keys) == (0, 0, None)
    assert _put(cache, 0, [[0]], 3.0, 1).tolist() == [[3]]


def test_a_row_takes_the_place_of_another() -> None:
    cache = SlotCache(2)
    cache.reserve(2, 3)
    cache.place(0, torch.tensor([[0, 1], [0, 1]]), 2)
    for layer in range(2):
        cache.update(_states(2, 2, 1.0), _states(2, 2, 5.0), layer)
    cache.move(1, 0, 2)
    for layer in cache.layers:
        assert layer.keys[0, 0, :2, 0].tolist() == [3, 4]
        assert layer.values[0, 0, :2, 0].tolist() == [7, 8]
