"""The consolidated weights that Meta publishes, under the names and in the layout that a Llama of transformers has."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import ModelError
from forge.base.json_file import read_object
from forge.ml.models.stored import Stored, Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor
    from transformers import PretrainedConfig

__all__ = ["as_llama"]

_NAMES: Final = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES: Final = {
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
_LAYER: Final = re.compile(r"layers\.(\d+)\.(.+)")
# Rotary frequencies, which a model computes from its config.
_COMPUTED: Final = re.compile(r"(.*\.)?rope\.freqs")
# Name in params.json, name in the config: what has to agree for the weights to fit.
_SAME: Final = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
}


def as_llama(weights: Weights, config: PretrainedConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Stored]:
    """The consolidated weights as those of the Llama that ``config`` describes; ``shapes`` are those of its parameters."""
    if config.model_type != "llama":
        raise ModelError(
            f"{weights.folder} has consolidated weights of a Llama, and the config is a {config.model_type}"
        )
    _check_parameters(weights.folder, config)
    names = dict.fromkeys(name for part in weights.parts for name in part if not _COMPUTED.fullmatch(name))
    found = {}
    for name in names:
        ours = _renamed(name)
        pieces = [part[name] for part in weights.parts if name in part]
        if len(pieces) != len(weights.parts):
            raise ModelError(f"{weights.folder}: the tensor {name} is in {len(pieces)} of {len(weights.parts)} parts")
        found[ours] = _joined(ours, pieces, shapes.get(ours, pieces[0].shape), _heads(ours, config))
    return found


def _check_parameters(folder: str, config: PretrainedConfig) -> None:
    path = os.path.join(folder, "params.json")
    if not os.path.isfile(path):
        return
    parameters = read_object(path, 1 << 20)
    for theirs, ours in _SAME.items():
        expected, given = parameters.get(theirs), _setting(config, ours)
        if expected is not None and expected != given:
            raise ModelError(
                f"the config has {ours} {given}, and {path} says {theirs} {expected}",
                hint="choose the config of the model that was published in this folder",
            )


def _setting(config: PretrainedConfig, name: str) -> Any:
    return config.rope_parameters.get(name) if name == "rope_theta" else getattr(config, name)


def _renamed(name: str) -> str:
    """The name in transformers; a name that is not known stays, and is reported as unexpected."""
    found = _LAYER.fullmatch(name)
    if found is None:
        return _NAMES.get(name, name)
    rest = _LAYER_NAMES.get(found[2])
    return f"model.layers.{found[1]}.{rest}" if rest else name


def _heads(name: str, config: PretrainedConfig) -> int:
    """The number of heads whose rows have to be put into another order, 0 for a tensor that stays as it is."""
    if name.endswith("q_proj.weight"):
        return config.num_attention_heads
    return config.num_key_value_heads if name.endswith("k_proj.weight") else 0


def _joined(name: str, pieces: Sequence[Stored], shape: tuple[int, ...], heads: int) -> Stored:
    first = pieces[0]
    axis = next((i for i, (a, b) in enumerate(zip(first.shape, shape, strict=False)) if a != b), None)
    joined = first.shape
    if axis is not None:
        joined = (*first.shape[:axis], sum(piece.shape[axis] for piece in pieces), *first.shape[axis + 1 :])
    in_part = all(piece.part is not None for piece in pieces)
    return Stored(
        name,
        first.file,
        joined,
        first.dtype,
        _reader(pieces, axis, heads),
        _part_reader(pieces, axis, heads) if in_part else None,
    )


def _reader(pieces: Sequence[Stored], axis: int | None, heads: int) -> Callable[[], Tensor]:
    def read() -> Tensor:
        # A tensor that is whole in each part is the same in all of them.
        whole = pieces[0].read() if axis is None else torch.cat([piece.read() for piece in pieces], axis)
        return _halves_apart(whole, heads) if heads else whole

    return read


def _part_reader(pieces: Sequence[Stored], axis: int | None, heads: int) -> Callable[[Sequence[Tensor]], Tensor]:
    ends = [0] * (len(pieces) + 1)
    for number, piece in enumerate(pieces):
        ends[number + 1] = ends[number] + (piece.shape[axis] if axis is not None else 0)

    rows = ends[-1] if axis == 0 else pieces[0].shape[0]
    order = _halves_apart(torch.arange(rows)[:, None], heads)[:, 0] if heads else None

    def read(places: Sequence[Tensor]) -> Tensor:
        if order is not None:
            places = [order[places[0]], *places[1:]]
        if axis is None:
            return _part(pieces[0], places)
        own = places[axis]
        among = torch.bucketize(own, torch.tensor(ends[1:]), right=True)
        found = [
            _part(piece, [*places[:axis], own[among == number] - ends[number], *places[axis + 1 :]])
            for number, piece in enumerate(pieces)
        ]
        # What comes piece by piece is put where it was asked for.
        return torch.cat(found, axis).index_select(axis, among.argsort(stable=True).argsort())

    return read


def _part(piece: Stored, places: Sequence[Tensor]) -> Tensor:
    assert piece.part is not None  # noqa: S101 - for the type checker: it is asked for only where it is there
    return piece.part(places)


def _halves_apart(weight: Tensor, heads: int) -> Tensor:
    """Rows for rotary embeddings that turn the two halves of a head; Meta's turn neighbours."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
