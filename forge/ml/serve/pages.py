"""The keys and values of many texts at a time, in pages: the paged cache of transformers, behind what a batcher needs of it.

A text takes a page when it grows into it, and gives all of them back at its end. Pages that are full are known by what stands
in them and before them: a text that begins like another one shares its pages and does not read them again.
"""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch.nn import functional
from transformers import ContinuousBatchingConfig
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache
from transformers.generation.continuous_batching import RequestState
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.distributed import DistributedHelper

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = ["ANOTHER_ENGINE", "KeptSizes", "PagedCache", "bytes_of_a_token", "kept_sizes", "refusing_others"]

ANOTHER_ENGINE: Final = "--engine vllm may serve it, on a machine that has vllm"
"""What is left for a model that the engine of this folder does not take."""

_PAGE: Final = 16
_SHORTEST: Final = 256
_ALL: Final = "full_attention"


class KeptSizes(NamedTuple):
    """What a layer keeps of a token: as many heads of keys as of values, and the size of a head of each."""

    heads: int
    key: int
    value: int


class PagedCache(Cache):
    """A cache for a model's layers with room for so many tokens; `place` says where the next states go."""

    def __init__(self, sizes: Sequence[KeptSizes], tokens: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        width = _width(sizes)
        self._pages = _pages(len(sizes), width, tokens, device, dtype)
        self._own = self._pages.cache_allocators[_ALL]
        self._memory = _memory_of_its_own(self._pages, self._own) if device.type == "cpu" else None
        self._states: dict[int, RequestState] = {}
        self._rows: dict[int, int] = {}
        # Where each token of each text is: a row for a text, and nowhere (0) behind its last page.
        self._table = torch.zeros(1, _SHORTEST, dtype=torch.int64, device=device)
        self._placed = _Placed()
        layers = zip(self._own.layer_indices, sizes, strict=True)
        super().__init__(layers=[_PageLayer(self._own, layer, one, width, self._placed) for layer, one in layers])

    @property
    def tokens(self) -> int:
        """How many tokens there is room for."""
        return self._own.num_blocks * _PAGE

    @property
    def free(self) -> int:
        """How many tokens there is room for now, in place of what is only kept because it may come again."""
        pool, own = self._pages.pool, self._own
        pages = pool.num_free_sectors * own.blocks_per_sector + pool.count_free_blocks(own.index)
        return (pages + len(own.ledger.cached_blocks)) * _PAGE

    def begin(self, number: int, tokens: Sequence[int]) -> int:
        """Take a text in; how many of its first tokens are known already, which is never all of them."""
        state = RequestState(str(number), list(tokens))
        state.position_offset = self._pages.search_prefix_match(state.request_id, state.initial_tokens)
        self._states[number] = state
        self._rows[number] = min({*range(len(self._rows) + 1)} - {*self._rows.values()})
        self._enter(number)
        return state.position_offset

    def make_room(self, number: int, count: int) -> bool:
        """Take room for so many more tokens of a text; False when there is not enough."""
        state = self._states[number]
        if not self._own.needs_new_blocks(state.request_id, state.position_offset, count):
            return True
        while not self._pages.can_store_request_tokens(state, count):
            if not self._pages.evict_cached_blocks():
                return False
        self._enter(number)
        return True

    def place(self, numbers: Sequence[int], positions: Tensor, counts: Sequence[int]) -> int:
        """The next states belong to these texts, at these positions [texts, tokens]; of each text's so many count.

        The length that is read of each: that of the longest.
        """
        rows = self._table[[self._rows[number] for number in numbers]]
        length = max(
            self._states[number].position_offset + count for number, count in zip(numbers, counts, strict=True)
        )
        write = rows.gather(1, positions.clamp(max=rows.shape[1] - 1))
        if min(counts) < positions.shape[1]:
            order = torch.arange(positions.shape[1], device=self._device)
            beyond = order >= torch.tensor(counts, device=self._device)[:, None]
            write = write.masked_fill(beyond, self._own.write_trash_index)
        placed = self._placed
        placed.texts, placed.length = len(numbers), length
        placed.read, placed.write = rows[:, :length].flatten(), write.flatten()
        return length

    def note(self, number: int, tokens: Sequence[int]) -> None:
        """The states of these tokens of a text are here now; pages that they fill may be shared."""
        state = self._states[number]
        filled = self._pages.count_new_complete_blocks(state, len(tokens))
        state.position_offset += len(tokens)
        new = state.position_offset - len(state.initial_tokens) - len(state.generated_tokens)
        state.generated_tokens += tokens[len(tokens) - max(new, 0) :]
        if filled:
            self._pages.mark_complete_blocks(state, filled)
            self._enter(number)  # a page that another text has filled with the same takes the place of its own

    def drop(self, number: int) -> None:
        """Let a text go."""
        state = self._states.pop(number)
        del self._rows[number]
        self._pages.free_blocks(state.request_id)

    def clear(self) -> None:
        """Forget everything, and give the memory back."""
        self._states.clear()
        self._rows.clear()
        self._pages.reset()
        if self._memory is not None:
            self._memory.madvise(mmap.MADV_DONTNEED)

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 - the library's signature
        """How many tokens are read of each text."""
        return self._placed.length

    def _enter(self, number: int) -> None:
        """Write down where the pages of a text are."""
        pages = self._own.block_table.get(self._states[number].request_id, [])
        row, length = self._rows[number], len(pages) * _PAGE
        if row >= self._table.shape[0] or length > self._table.shape[1]:
            self._table = _grown(self._table, row + 1, length)
        first = torch.tensor(pages, dtype=torch.int64, device=self._device) * self._own.block_physical_stride
        places = first[:, None] + torch.arange(_PAGE, device=self._device)
        self._table[row, :length] = places.flatten()
        self._table[row, length:] = self._own.read_trash_index


@dataclass(slots=True)
class _Placed:
    """Where the states of a step are written, and what is read: places in the flat memory of every layer."""

    texts: int = 0
    length: int = 0
    write: Any = None
    read: Any = None


class _PageLayer(CacheLayerMixin):
    is_sliding = False

    def __init__(self, pages: Any, layer: int, sizes: KeptSizes, width: int, placed: _Placed) -> None:
        super().__init__()
        self._pages, self._layer, self._sizes, self._width, self._placed = pages, layer, sizes, width, placed
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        placed, sizes = self._placed, self._sizes
        keys, values = self._pages.update(
            self._flat(key_states), self._flat(value_states), self._layer, placed.read, placed.write
        )
        return self._apart(keys, sizes.key), self._apart(values, sizes.value)

    def _flat(self, states: Tensor) -> Tensor:
        """Of [texts, heads, tokens, size] what the library's pages take: [all tokens, 1, width]."""
        one = states.squeeze(2) if states.shape[2] == 1 else states.transpose(1, 2).flatten(0, 1)
        flat = one.flatten(1)
        if flat.shape[1] < self._width:
            flat = functional.pad(flat, (0, self._width - flat.shape[1]))
        return flat[:, None]

    def _apart(self, flat: Tensor, size: int) -> Tensor:
        placed, heads = self._placed, self._sizes.heads
        whole = flat.view(placed.texts, placed.length, self._width)
        return whole[..., : heads * size].unflatten(-1, (heads, size)).transpose(1, 2)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: there is room already."""

    def get_seq_length(self) -> int:
        return self._placed.length

    def get_max_length(self) -> int:
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - the library's signature
        return self._placed.length, 0


def kept_sizes(model: Any) -> list[KeptSizes]:
    """What each layer of a model keeps of a token, seen in a step of one: configs have many words for it."""
    seen = DynamicCache()
    token = torch.zeros(1, 1, dtype=torch.int64, device=next(model.parameters()).device)
    with refusing_others(), torch.inference_mode():
        model(input_ids=token, past_key_values=seen, use_cache=True)
        if not seen.layers:
            raise ValueError("there are none")
        return [KeptSizes(layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in seen.layers]


def bytes_of_a_token(sizes: Sequence[KeptSizes], element: int) -> int:
    """What the pages of all layers take for a token, of numbers of so many bytes."""
    return 2 * len(sizes) * _width(sizes) * element


@contextmanager
def refusing_others() -> Iterator[None]:
    """Turn what a model of another kind fails with into a ModelError that says so."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, AttributeError, ValueError, LookupError) as error:
        raise ModelError(
            f"the keys and values of this model cannot be kept in pages: {' '.join(str(error).split())[:160]}",
            hint=ANOTHER_ENGINE,
        ) from error


def _width(sizes: Sequence[KeptSizes]) -> int:
    return max(one.heads * max(one.key, one.value) for one in sizes)


def _pages(layers: int, width: int, tokens: int, device: torch.device, dtype: torch.dtype) -> PagedAttentionCache:
    # To the masks a window is a matter of the mask: the pages of all layers are alike, and to them a token is one row of numbers.
    plain = SimpleNamespace(
        num_hidden_layers=layers,
        num_attention_heads=1,
        num_key_value_heads=1,
        hidden_size=width,
        head_dim=width,
        vocab_size=1,
        _attn_implementation="sdpa",
    )
    settings = ContinuousBatchingConfig(
        page_size=_PAGE,
        num_blocks=max(tokens // _PAGE, 1),
        max_batch_tokens=1,
        max_requests_per_batch=1,
        max_blocks_per_request=0,
        max_memory_percent=1.0,
    )
    # On a processor the library would fill all of its memory at once.
    place = torch.device("meta") if device.type == "cpu" else device
    return PagedAttentionCache(
        plain, settings, place, DistributedHelper(None, None), dtype, model_supports_logits_to_keep=True
    )


def _memory_of_its_own(pages: PagedAttentionCache, own: Any) -> mmap.mmap:
    """Memory of which only those pages are there that were written to, and that can be given back."""
    size = pages.cache_tensor.numel()
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    content = torch.frombuffer(memory, dtype=torch.uint8)
    own.register_cache_tensor(pages.bytes_per_sector, size - 2 * pages.bytes_per_sector, content, pages.pool)
    return memory


def _grown(table: Tensor, rows: int, length: int) -> Tensor:
    size = (max(table.shape[0], 2 * rows), max(table.shape[1], 1 << (length - 1).bit_length() if length else 0))
    new = table.new_zeros(size)
    new[: table.shape[0], : table.shape[1]] = table
    return new
