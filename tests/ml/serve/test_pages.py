from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
from forge.base.errors import ModelError  # noqa: E402 - what follows needs torch
from forge.ml.serve.pages import KeptSizes, PagedCache, bytes_of_a_token, kept_sizes  # noqa: E402 - it needs torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

pytestmark = pytest.mark.torch


def _cache(tokens: int = 256, layers: int = 1) -> PagedCache:
    sizes = [KeptSizes(heads=1, key=8, value=8)] * layers
    return PagedCache(sizes, tokens, device=torch.device("cpu"), dtype=torch.float32)


def _put(cache: PagedCache, texts: dict[int, Sequence[int]], places: dict[int, int], layer: int = 0) -> Tensor:
    """Put a part of each text behind what is there, each token's states being its number; what is read of each."""
    width = max(map(len, texts.values()))
    for number, part in texts.items():
        assert cache.make_room(number, len(part))
    positions = torch.tensor([[places[number] + place for place in range(width)] for number in texts])
    cache.place(list(texts), positions, [len(part) for part in texts.values()])
    padded = torch.tensor([[*part, *[99] * (width - len(part))] for part in texts.values()], dtype=torch.float32)
    states = padded[:, None, :, None].expand(-1, 1, -1, 8)
    keys, values = cache.update(states, -states, layer)
    assert torch.equal(keys, -values)
    for number, part in texts.items():
        cache.note(number, list(part))
    return keys[:, 0, :, 0]


def test_each_text_is_read_as_it_was_written() -> None:
    cache = _cache()
    assert (cache.begin(1, [5, 6, 7]), cache.begin(2, [8])) == (0, 0)
    assert _put(cache, {1: [5, 6, 7], 2: [8]}, {1: 0, 2: 0}).tolist() == [[5, 6, 7], [8, 0, 0]]
    assert _put(cache, {2: [3], 1: [4]}, {1: 3, 2: 1}).tolist() == [[8, 3, 0, 0], [5, 6, 7, 4]]
    assert cache.get_seq_length() == 4
    cache.drop(1)
    cache.begin(3, range(40))
    assert _put(cache, {3: range(40)}, {3: 0})[0].tolist() == list(range(40))
    assert _put(cache, {2: [2]}, {2: 2}).tolist() == [[8, 3, 2]]


def test_layers_may_keep_heads_of_their_own() -> None:
    sizes = [KeptSizes(heads=2, key=4, value=3), KeptSizes(heads=1, key=2, value=2)]
    cache = PagedCache(sizes, 64, device=torch.device("cpu"), dtype=torch.float32)
    assert bytes_of_a_token(sizes, 4) == 2 * 2 * 8 * 4
    for number in (1, 2):
        cache.begin(number, [number] * 20)
        assert cache.make_room(number, 20)
    for start, width in ((0, 3), (3, 1)):
        cache.place([1, 2], start + torch.arange(width).repeat(2, 1), [width, width])
        for layer, one in enumerate(sizes):
            keys, values = (torch.randn(2, one.heads, width, size) for size in (one.key, one.value))
            found = cache.update(keys, values, layer)
            assert [part.shape for part in found] == [
                (2, one.heads, start + width, size) for size in (one.key, one.value)
            ]
            assert torch.equal(found[0][:, :, start:], keys)
            assert torch.equal(found[1][:, :, start:], values)
        for number in (1, 2):
            cache.note(number, [number] * width)


def _model(kind: str, **more: Any) -> Any:
    from tiny_sizes import TINY
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**TINY, **more})).eval()


COMPRESSED = {
    "q_lora_rank": None,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 2,
}


@pytest.mark.parametrize(
    ("kind", "more", "sizes"),
    [
        ("llama", {}, KeptSizes(2, 8, 8)),
        ("falcon", {"multi_query": True, "new_decoder_architecture": False}, KeptSizes(1, 8, 8)),
        ("deepseek_v2", COMPRESSED, KeptSizes(1, 8, 4)),
    ],
)
def test_what_is_kept_is_seen(kind: str, more: dict[str, Any], sizes: KeptSizes) -> None:
    assert kept_sizes(_model(kind, **more)) == [sizes] * 2


def test_a_model_that_keeps_nothing_of_the_kind_is_refused() -> None:
    with pytest.raises(ModelError, match=r"(?s)cannot be kept in pages.*--engine vllm"):
        kept_sizes(_model("openai-gpt"))


def test_room_is_taken_by_pages_and_given_back() -> None:
    cache = _cache(64)
    assert (cache.tokens, cache.free) == (64, 64)
    for number in (1, 2):
        cache.begin(number, range(number * 100, number * 100 + 17))
        assert cache.make_room(number, 17)
    assert cache.free == 0
    assert cache.make_room(1, 32)
    assert not cache.make_room(1, 33)
    cache.drop(2)
    assert cache.make_room(1, 33)
    cache.clear()
    assert cache.free == 64


def test_texts_that_begin_alike_share_pages() -> None:
    cache = _cache(96)
    first = list(range(40))
    cache.begin(1, first)
    _put(cache, {1: first}, {1: 0})
    assert cache.begin(2, [*first[:35], 7, 7, 7]) == 32
    assert _put(cache, {2: [32, 33, 34, 7, 7, 7]}, {2: 32})[0].tolist() == [*range(35), 7, 7, 7]
    assert cache.free == 96 - 3 * 16 - 16
    for number in (1, 2):
        cache.drop(number)
    assert cache.free == 96
    assert cache.begin(3, first[:32]) == 16  # what follows the last token is not known
    cache.drop(3)
    cache.begin(4, range(50, 140))
    assert cache.make_room(4, 90)  # what is only kept makes room
    assert cache.begin(5, first) == 0


def test_what_a_text_says_is_known_when_it_comes_again() -> None:
    cache = _cache()
    cache.begin(1, range(10))
    _put(cache, {1: range(10)}, {1: 0})
    for said in range(10, 20):
        _put(cache, {1: [said]}, {1: said})
    cache.drop(1)
    assert cache.begin(2, [*range(20), 5]) == 16
    assert _put(cache, {2: [16, 17, 18, 19, 5]}, {2: 16})[0].tolist() == [*range(20), 5]


def test_the_same_page_of_two_texts_becomes_one() -> None:
    cache = _cache()
    for number in (1, 2):
        cache.begin(number, range(17))
    _put(cache, {1: range(17), 2: range(17)}, {1: 0, 2: 0})
    assert cache.free == 256 - 3 * 16
    assert _put(cache, {1: [50], 2: [60]}, {1: 17, 2: 17}).tolist() == [[*range(17), 50], [*range(17), 60]]


def test_each_layer_has_its_own() -> None:
    cache = _cache(layers=2)
    cache.begin(1, [1, 2])
    cache.make_room(1, 2)
    cache.place([1], torch.tensor([[0, 1]]), [2])
    for layer in (0, 1):
        states = torch.full((1, 1, 2, 8), float(layer + 5))
        cache.update(states, states, layer)
    assert [cache.layers[layer].get_seq_length() for layer in (0, 1)] == [2, 2]
    cache.note(1, [1, 2])
    assert cache.make_room(1, 1)
    cache.place([1], torch.tensor([[2]]), [1])
    new = torch.zeros(1, 1, 1, 8)
    assert [cache.update(new, new, layer)[0][0, 0, :, 0].tolist() for layer in (0, 1)] == [[5, 5, 0], [6, 6, 0]]


def test_pages_that_nobody_has_written_take_no_memory() -> None:
    def resident() -> int:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) << 10

    before = resident()
    cache = _cache(1 << 22)  # 256 MiB
    assert resident() - before < 100 << 20
    assert cache.tokens == 1 << 22
