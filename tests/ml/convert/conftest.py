"""Tiny model folders of known architectures, as they are published."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZES = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
GPT2 = {
    "vocab_size": 264,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def byte_level() -> Any:
    """A tokenizer whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def _make(path: Path, family: str, **changes: Any) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = changes.pop("dtype", torch.float32)
    config = AutoConfig.for_model(family, **{**(GPT2 if family == "gpt2" else SIZES), **changes})
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).to(kind)
    with torch.no_grad():
        for parameter in model.parameters():  # zeros and ones would hide a mistake
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    model.save_pretrained(path)
    byte_level().save_pretrained(path)
    return path


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a model folder: ``model_folder("llama", name="llama", hidden_size=32)``."""
    pytest.importorskip("transformers")

    def make(family: str = "llama", name: str = "", **changes: Any) -> Path:
        return _make(tmp_path / (name or family), family, **changes)

    return make


@pytest.fixture
def tensors_of() -> Callable[[Any], dict[str, Any]]:
    """All tensors of a folder by name."""
    from safetensors.torch import load_file

    def read(folder: Any) -> dict[str, Any]:
        files = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
        return {name: tensor for file in files for name, tensor in load_file(os.path.join(folder, file)).items()}

    return read


@pytest.fixture
def converted() -> Callable[..., Any]:
    """Converts a folder with these changes, and returns the new folder."""
    from forge.ml.convert.convert import Changes, convert_folder

    def run(folder: Any, target: Any, *, check: Any = None, **changes: Any) -> Any:
        convert_folder(
            str(folder), str(target), Changes(**changes), begin=lambda _source, _made: lambda _size: None, check=check
        )
        return target

    return run


@pytest.fixture
def as_meta(tensors_of: Callable[[Any], dict[str, Any]]) -> Callable[..., Path]:
    """Writes a llama folder as Meta publishes it, in so many parts."""
    return lambda folder, path, parts=1, **given: _meta(tensors_of(folder), folder, path, parts, given)


def _meta(tensors: dict[str, Any], folder: Path, path: Path, parts: int, given: dict[str, Any]) -> Path:
    import torch

    from forge.ml.models.consolidated import _LAYER_NAMES, _NAMES

    config = json.loads((folder / "config.json").read_text())
    names = {theirs: ours for ours, theirs in _NAMES.items()}
    layer_names = {theirs: ours for ours, theirs in _LAYER_NAMES.items()}
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    found: list[dict[str, Any]] = [{} for _ in range(parts)]
    for name, tensor in tensors.items():
        if name in names:
            meta, split = names[name], {"model.embed_tokens.weight": 1, "lm_head.weight": 0}.get(name)
        else:
            _, _, layer, rest = name.split(".", 3)
            meta = f"layers.{layer}.{layer_names[rest]}"
            split = None if "norm" in rest else 1 if "o_proj" in rest or "down_proj" in rest else 0
            for key, count in heads.items():
                if key in rest:  # neighbours together, as Meta has them
                    rows, columns = tensor.shape
                    tensor = (  # noqa: PLW2901 - the same weight in another order
                        tensor.view(count, 2, rows // count // 2, columns).transpose(1, 2).reshape(rows, columns)
                    )
        pieces = [tensor] * parts if split is None else tensor.chunk(parts, split)
        for part, piece in zip(found, pieces, strict=True):
            part[meta] = piece.clone()
    path.mkdir()
    for number, part in enumerate(found):
        torch.save(part, path / f"consolidated.{number:02}.pth")
    parameters = {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"],
        "norm_eps": config["rms_norm_eps"],
        "rope_theta": config["rope_parameters"]["rope_theta"],
        "vocab_size": -1,
    }
    (path / "params.json").write_text(json.dumps({**parameters, **given}))
    return path


@pytest.fixture
def template_file(tmp_path: Path) -> Callable[[str], str]:
    """Writes a chat template into a file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "template.jinja"
        path.write_text(text)
        return str(path)

    return write
