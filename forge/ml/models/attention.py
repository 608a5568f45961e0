"""Attention inside documents: several of them lie in one row and none sees another, without a mask of row times row.

``forge_documents`` is an attention implementation that `transformers` knows by name once this module is imported. A model
is called with what `attention_inputs` makes of a batch; the implementation then finds the documents' bounds among
its keyword arguments. Without them it is plain causal attention, so that a model generates text with it as well.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from forge.base.errors import ModelError
from forge.ml.models.documents import attend_documents, heads_of
from forge.ml.models.kernels import check_kernel
from forge.ml.models.sdpa_backends import known_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from forge.ml.data.batch import Batch

__all__ = [
    "DOCUMENTS",
    "FLAT",
    "attend_through",
    "attending_alone",
    "attention_for",
    "attention_inputs",
    "check_documents",
    "choose_attention",
    "expect_padding",
]

DOCUMENTS: Final = "forge_documents"
"""The name under which `transformers` knows the attention of this module."""

_FLASH: Final = ("flash_attention_2", "flash_attention_3")
_OTHERWISE: Final = "write attn_implementation: sdpa, or eager; where that does not help, packing: none with it"
FLAT: Final = (DOCUMENTS, *_FLASH)
"""The attentions that find the documents of a batch by their bounds, so that a row needs no padding."""

_NO_WINDOW: Final = 0
_VARLEN_TYPES: Final = (torch.bfloat16, torch.float16)
_VARLEN_WIDEST: Final = 256


_through: Final[list[Any]] = []


def attend_through(around: Any) -> None:
    """Let every attention of this process go through a function that is given the attention, its tensors and its sinks."""
    _through[:] = [] if around is None else [around]


@contextmanager
def attending_alone() -> Iterator[None]:
    """Inside, attention goes through nothing: for rows that each process has whole."""
    before = list(_through)
    attend_through(None)
    try:
        yield
    finally:
        _through[:] = before


def choose_attention(
    requested: str,
    device: torch.device | str,
    *,
    packed: bool,
    model_class: type[PreTrainedModel] | None = None,
) -> str:
    """The implementation to build a model with; ``auto`` is the quickest one that is right for the device and the model.

    ``packed`` says that a row can hold several documents.
    """
    if packed and model_class is not None and getattr(model_class, "_is_stateful", False):
        raise ModelError(
            f"{model_class.__name__} carries a state along the row, from one document into the next",
            hint="train it with one document in a row: packing: none",
        )
    if requested != "auto":
        check_kernel("attn_implementation", requested, device)
        return known_as(requested)
    if model_class is None:
        return DOCUMENTS if packed else "sdpa"
    if packed and getattr(model_class, "_supports_attention_backend", False):
        return DOCUMENTS
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"


def attention_for(
    model: PreTrainedModel,
    requested: str,
    device: torch.device | str,
    *,
    packed: bool,
    flat: bool = False,
    rows: int,
    length: int,
) -> str:
    """The attention for so many rows of so many tokens at a time, `packed` or, with ``flat``, one behind the other.

    Some models count chunks or positions from the start of a row and not from that of a document: ModelError where a row of theirs
    would be too long for that, and no longer row than the data asks for where ``auto`` can do without.
    """
    limit = _counted_within(model.config)
    joined = rows * length
    if limit is None or joined <= limit:
        return choose_attention(requested, device, packed=packed or flat, model_class=type(model))
    chosen = choose_attention(requested, device, packed=False, model_class=type(model))
    longest = joined if chosen in FLAT else length if packed else 0
    if longest > limit:
        raise ModelError(
            f"{type(model).__name__} counts from the start of a row, not of a document, and is right within {limit:,} tokens;"
            f" a row would have {longest:,}",
            hint="set attn_implementation: auto and packing: none, or shorter rows, and no cp",
        )
    return chosen


def _counted_within(config: Any) -> int | None:
    """How many tokens a row may have in which a model counts from the start of the row; None where it does not."""
    text = config.get_text_config()
    chunked = "chunked_attention" in (getattr(text, "layer_types", None) or ())
    tuned = bool(getattr(text, "attn_temperature_tuning", False))  # the scale of queries grows with their place
    limits = [*([text.attention_chunk_size] if chunked else []), *([int(text.floor_scale) - 1] if tuned else [])]
    return min(filter(None, limits), default=None)


def attention_inputs(batch: Batch, implementation: str) -> dict[str, Any]:
    """The arguments, besides the tokens, with which a model attends inside the documents of this batch alone."""
    # A cache would hide from transformers that the rows are packed, and training has no use for it.
    inputs: dict[str, Any] = {"use_cache": False}
    if batch.lengths is None:
        # One document in a row, padded on the right: nothing before the padding can see it.
        return inputs
    inputs["position_ids"] = batch.position_ids
    if implementation in FLAT:
        bounds = functional.pad(batch.lengths.cumsum(0, dtype=torch.int32), (1, 0))
        inputs |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
        if bounds.is_cuda:
            longest = int(batch.lengths.max())
            inputs |= {"max_length_q": longest, "max_length_k": longest}
    return inputs


def expect_padding(model: nn.Module) -> None:
    """Let a model take padding without a mask and without a word: with `attention_inputs` nothing looks at it.

    A model that looks for it at every call, to warn of it, waits for its device each time.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.warn_if_padding_and_no_attention_mask = _say_nothing


def _say_nothing(*_: Any) -> None:
    """In the place of a warning."""


@torch.no_grad()
def check_documents(model: PreTrainedModel, implementation: str) -> None:
    """Refuse a model whose documents see each other in a packed row: two rows that differ in one document tell."""
    from forge.ml.data.batch import IGNORED, Batch

    expect_padding(model)
    device = model.get_input_embeddings().weight.device
    lengths, changed = torch.tensor([5, 4, 7], dtype=torch.int32), slice(5, 9)
    tokens = torch.arange(1, 17) % (model.get_input_embeddings().weight.shape[0] - 1)
    other = tokens.clone()
    other[changed] += 1
    position_ids = torch.cat([torch.arange(int(length)) for length in lengths])[None]
    answers = []
    training = model.training
    model.eval()
    for row in (tokens, other):
        targets = torch.full_like(row[None], IGNORED)
        batch = Batch(row[None], targets, position_ids, lengths, tokens=16, trained=0).to(device)
        try:
            answers.append(model(input_ids=batch.input_ids, **attention_inputs(batch, implementation)).logits[0, 9:])
        except torch.OutOfMemoryError:
            raise
        except (
            TypeError,
            AttributeError,
            LookupError,
            ValueError,
            RuntimeError,
        ) as error:  # as a mask that it takes for given
            raise ModelError(
                f"{type(model).__name__} cannot compute a packed row with attn_implementation {implementation}: {error}",
                hint=_OTHERWISE,
            ) from error
    model.train(training)
    first, second = (answer.float() for answer in answers)
    # Nearly equal: products of matrices, of experts above all, may be added up in another order.
    noise = 1e-5 if answers[0].dtype == torch.float32 else 1e-2
    if (first - second).abs().max() > noise * first.abs().max():
        raise ModelError(
            f"the documents of a row see each other in {type(model).__name__} with attn_implementation {implementation}",
            hint=_OTHERWISE,
        )


class _Scores(NamedTuple):
    """What becomes of the products of queries and keys."""

    scale: float
    softcap: float | None  # they are held between plus and minus this
    sinks: torch.Tensor | None  # a score for each head that takes part in the softmax and is worth nothing
    dropout: float

    @property
    def plain(self) -> bool:
        """Whether kernels know it; a dropout only some of them."""
        return self.softcap is None and self.sinks is None


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What a model calls: tensors of shape (batch, heads, tokens, width), the answer with tokens before heads."""
    _refuse(module, kwargs)
    if _through and attention_mask is None:

        def attend(
            query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sinks: torch.Tensor | None
        ) -> torch.Tensor:
            rows = (dropout, scaling, softcap, sinks, cu_seq_lens_q, max_length_q)
            return _in_rows(module, query, key, value, None, *rows, **kwargs)

        return _through[0](attend, query, key, value, s_aux), None
    rows = (dropout, scaling, softcap, s_aux, cu_seq_lens_q, max_length_q)
    return _in_rows(module, query, key, value, attention_mask, *rows, **kwargs), None


def _in_rows(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float,
    scaling: float | None,
    softcap: float | None,
    s_aux: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None,
    max_length_q: int | None,
    **kwargs: Any,
) -> torch.Tensor:
    window = _window(module, query, kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = _Scores(scale, softcap, s_aux, dropout)
    one_document = attention_mask is not None or query.shape[2] != key.shape[2]
    if one_document and not scores.plain:
        return _dense(query, key, value, scores, attention_mask).transpose(1, 2).contiguous()
    if one_document or (cu_seq_lens_q is None and scores.plain and window == _NO_WINDOW):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling)[0]
    width = value.shape[-1]
    query, key, value = _one_width(*_one_type(query, key, value))
    if cu_seq_lens_q is None:
        cu_seq_lens_q, max_length_q = _rows(query), query.shape[2]
    if scores.plain and not dropout and not query.is_cuda:
        answer = _on_cpu(query, key, value, cu_seq_lens_q, scale, window)
    elif scores.plain and not dropout and query.dtype in _VARLEN_TYPES and query.shape[-1] <= _VARLEN_WIDEST:
        answer = _on_cuda(query, key, value, cu_seq_lens_q, scale, window, max_length_q)
    else:
        answer = _each(query, key, value, cu_seq_lens_q, scores, window)
    return answer if width == answer.shape[-1] else answer[..., :width]


def _mask(
    q_length: int,
    kv_length: int,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    config: Any = None,
    *,
    use_vmap: bool = False,
    **kwargs: Any,
) -> torch.Tensor | None:
    """No mask where the attention knows the pattern by itself: causal, in documents, in a window. Else the whole one."""
    known = local_size is None or local_size == getattr(config, "sliding_window", None)
    if known and not use_vmap and attention_mask is None and q_length == kv_length:
        return None
    kwargs |= {"attention_mask": attention_mask, "local_size": local_size, "config": config, "use_vmap": use_vmap}
    return sdpa_mask(q_length=q_length, kv_length=kv_length, **kwargs)


AttentionInterface.register(DOCUMENTS, _attend)
AttentionMaskInterface.register(DOCUMENTS, _mask)


def _refuse(module: torch.nn.Module, kwargs: dict[str, Any]) -> None:
    if kwargs.get("position_bias") is not None:
        reason = "its attention has a bias for each pair of positions"
    elif kwargs.get("is_causal") is False or not getattr(module, "is_causal", True):
        reason = "its attention is not causal"
    else:
        return
    raise ModelError(
        f"{DOCUMENTS} cannot be used by {_title(module)}: {reason}",
        hint="write attn_implementation: eager (or sdpa, where the model has it)",
    )


def _window(module: torch.nn.Module, query: torch.Tensor, kwargs: dict[str, Any]) -> int:
    """How many tokens back, itself included, a token sees; all of them without a window."""
    if "sliding_window" in kwargs:
        window = kwargs["sliding_window"]
        return window if window and window < query.shape[2] else _NO_WINDOW
    configured = getattr(getattr(module, "config", None), "sliding_window", None)
    if configured and configured < query.shape[2] and getattr(module.config, "use_sliding_window", True):
        raise ModelError(
            f"{_title(module)} tells its attention nothing of its window of {configured} tokens",
            hint="write attn_implementation: sdpa",
        )
    return _NO_WINDOW


def _title(module: torch.nn.Module) -> str:
    return getattr(getattr(module, "config", None), "model_type", None) or type(module).__name__


def _one_type(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Under autocast a rotary embedding can leave queries and keys in float32 beside values in bfloat16."""
    kind = tensors[0].device.type
    if torch.is_autocast_enabled(kind):
        return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)
    return tensors


def _one_width(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Kernels want heads of one width, and latent attention (DeepSeek) has narrower values: zeros beside them add nothing."""
    widest = max(tensor.shape[-1] for tensor in tensors)
    return tuple(
        tensor if tensor.shape[-1] == widest else functional.pad(tensor, (0, widest - tensor.shape[-1]))
        for tensor in tensors
    )


def _rows(query: torch.Tensor) -> torch.Tensor:
    rows, tokens = query.shape[0], query.shape[2]
    return torch.arange(0, (rows + 1) * tokens, tokens, dtype=torch.int32, device=query.device)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """From (batch, heads, tokens, width) to (all tokens, heads, width), without a copy for a single row."""
    return tensor.transpose(1, 2).flatten(0, 1)


def _on_cuda(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    scale: float,
    window: int,
    longest: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = query.shape[2] if longest is None else longest
    seen = (window - 1 if window else -1, 0)
    flat = [_flat(tensor) for tensor in (query, key, value)]
    grouped = query.shape[1] != key.shape[1]
    out = varlen_attn(*flat, bounds, bounds, longest, longest, scale=scale, window_size=seen, enable_gqa=grouped)
    return out.unflatten(0, (query.shape[0], query.shape[2]))


def _on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, scale: float, window: int
) -> torch.Tensor:
    out, _ = attend_documents(_flat(query), _flat(key), _flat(value), bounds, window, scale)
    return out.unflatten(0, (query.shape[0], query.shape[2]))


@torch.compiler.disable
def _each(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    scores: _Scores,
    window: int,
) -> torch.Tensor:
    """Document by document in plain operations, for what no kernel has: soft-caps, sinks, dropout, float32 on a GPU."""
    lengths = bounds.diff().tolist()
    flat = [_flat(tensor).split(lengths) for tensor in (query, key, value)]
    parts = []
    for q, k, v in zip(*flat, strict=True):
        distance = torch.arange(len(q), device=q.device)[:, None] - torch.arange(len(q), device=q.device)
        hidden = (distance < 0) | (distance >= (window or len(q)))
        mask = torch.zeros(hidden.shape, device=q.device).masked_fill_(hidden, float("-inf"))
        parts.append(_dense(heads_of(q), heads_of(k), heads_of(v), scores, mask)[0].transpose(0, 1))
    return torch.cat(parts).unflatten(0, (query.shape[0], query.shape[2]))


def _dense(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scores: _Scores, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention as it is written in books."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    found = torch.matmul(query, key.transpose(2, 3)) * scores.scale
    if scores.softcap is not None:
        found = torch.tanh(found / scores.softcap) * scores.softcap
    if mask is not None:
        found = found.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else found + mask
    if scores.sinks is not None:
        sinks = scores.sinks.view(1, -1, 1, 1).expand(*found.shape[:3], 1)
        weights = functional.softmax(torch.cat([found, sinks], -1), dim=-1, dtype=torch.float32)[..., :-1]
    else:
        weights = functional.softmax(found, dim=-1, dtype=torch.float32)
    return torch.matmul(functional.dropout(weights.to(value.dtype), scores.dropout), value)
