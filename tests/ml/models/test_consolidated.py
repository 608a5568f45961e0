"""Consolidated weights of a Llama: the same model under the names of transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")
consolidated = pytest.importorskip("forge.ml.models.consolidated")
stored = pytest.importorskip("forge.ml.models.stored")

HEADS, GROUPS, WIDTH, INNER, LAYERS, VOCABULARY = 4, 2, 32, 48, 2, 64


def _config() -> Any:
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        rms_norm_eps=1e-5,
    )


def _weights() -> dict[str, Any]:
    """Random weights under Meta's names."""
    torch.manual_seed(0)
    found = {
        "tok_embeddings.weight": torch.randn(VOCABULARY, WIDTH),
        "norm.weight": torch.rand(WIDTH) + 0.5,
        "output.weight": torch.randn(VOCABULARY, WIDTH) / WIDTH,
        "rope.freqs": torch.ones(WIDTH // HEADS // 2),
    }
    keys = WIDTH // HEADS * GROUPS
    for layer in range(LAYERS):
        shapes = {
            "attention.wq": (WIDTH, WIDTH),
            "attention.wk": (keys, WIDTH),
            "attention.wv": (keys, WIDTH),
            "attention.wo": (WIDTH, WIDTH),
            "feed_forward.w1": (INNER, WIDTH),
            "feed_forward.w2": (WIDTH, INNER),
            "feed_forward.w3": (INNER, WIDTH),
        }
        found |= {f"layers.{layer}.{name}.weight": torch.randn(shape) / WIDTH**0.5 for name, shape in shapes.items()}
        found |= {f"layers.{layer}.{name}.weight": torch.rand(WIDTH) + 0.5 for name in ("attention_norm", "ffn_norm")}
    return found


def _meta_llama(weights: dict[str, Any], ids: Any) -> Any:
    """Logits by the arithmetic of the original model: rotary embeddings turn neighbouring numbers, as complex ones."""
    x = weights["tok_embeddings.weight"][ids]
    size = WIDTH // HEADS
    angles = torch.outer(torch.arange(len(ids)).float(), 10000.0 ** -(torch.arange(0, size, 2).float() / size))
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]

    def norm(value: Any, name: str) -> Any:
        return value * torch.rsqrt(value.pow(2).mean(-1, keepdim=True) + 1e-5) * weights[name]

    def turned(value: Any) -> Any:
        pairs = torch.view_as_complex(value.reshape(*value.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turns).flatten(-2)

    for layer in range(LAYERS):
        w = {name.removeprefix(f"layers.{layer}."): tensor for name, tensor in weights.items()}
        h = norm(x, f"layers.{layer}.attention_norm.weight")
        q, k, v = ((h @ w[f"attention.w{name}.weight"].T).view(len(ids), -1, size) for name in ("q", "k", "v"))
        q, k = turned(q), turned(k).repeat_interleave(HEADS // GROUPS, 1)
        v = v.repeat_interleave(HEADS // GROUPS, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / size**0.5
        scores = scores.masked_fill(torch.ones(len(ids), len(ids)).triu(1).bool(), -torch.inf).softmax(-1)
        x = x + torch.einsum("hqk,khd->qhd", scores, v).flatten(1) @ w["attention.wo.weight"].T
        h = norm(x, f"layers.{layer}.ffn_norm.weight")
        gate = torch.nn.functional.silu(h @ w["feed_forward.w1.weight"].T)
        x = x + (gate * (h @ w["feed_forward.w3.weight"].T)) @ w["feed_forward.w2.weight"].T
    return norm(x, "norm.weight") @ weights["output.weight"].T


def _save(folder: Path, parts: list[dict[str, Any]], **parameters: Any) -> str:
    for number, part in enumerate(parts):
        torch.save(part, folder / f"consolidated.{number:02}.pth")
    facts = {
        "dim": WIDTH,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "n_kv_heads": GROUPS,
        "norm_eps": 1e-5,
        "vocab_size": -1,
    }
    (folder / "params.json").write_text(json.dumps(facts | parameters))
    return str(folder)


def _split(weights: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """As model-parallel training leaves them: some cut by rows, some by columns, some whole in each part."""
    columns = {"wo.weight", "w2.weight", "tok_embeddings.weight"}
    found: list[dict[str, Any]] = [{} for _ in range(parts)]
    for name, tensor in weights.items():
        axis = 1 if any(name.endswith(end) for end in columns) else 0
        pieces = [tensor] * parts if tensor.ndim == 1 else tensor.chunk(parts, axis)
        for part, piece in zip(found, pieces, strict=True):
            part[name] = piece.clone()
    return found


@pytest.mark.parametrize("parts", [1, 2])
def test_it_computes_what_the_original_computes(parts: int, tmp_path: Path) -> None:
    weights = _weights()
    folder = _save(tmp_path, _split(weights, parts))
    model = causal.causal_lm(_config(), path=folder)
    ids = torch.randint(0, VOCABULARY, (11,))
    with torch.no_grad():
        torch.testing.assert_close(model(ids[None]).logits[0], _meta_llama(weights, ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_what_is_read_in_parts_is_what_is_read_whole(parts: int, tmp_path: Path) -> None:
    folder = _save(tmp_path, _split(_weights(), parts))
    shapes = {name: tuple(tensor.shape) for name, tensor in causal.causal_lm(_config()).state_dict().items()}
    with stored.open_weights(folder) as weights:
        for name, one in consolidated.as_llama(weights, _config(), shapes).items():
            whole = one.read()
            assert torch.equal(torch.cat(list(one.portions(500))), whole), name
            places = [torch.arange(0, length, 3) for length in whole.shape]
            assert torch.equal(one.part(places), whole[tuple(torch.meshgrid(*places, indexing="ij"))]), name


def test_without_a_config_the_folder_asks_for_one(tmp_path: Path) -> None:
    folder = _save(tmp_path, [_weights()])
    with pytest.raises(ModelError, match=r"has no config.json") as caught:
        causal.causal_lm(path=folder)
    assert "model=llama3.1_8b" in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dim": 64}, "hidden_size 32, and .* says dim 64"),
        ({"n_kv_heads": 4}, "num_key_value_heads 2"),
        ({"rope_theta": 5e5}, "rope_theta 10000.0, and .* 500000.0"),
    ],
)
def test_another_config_is_refused(parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = _save(tmp_path, [_weights()], **parameters)
    with pytest.raises(ModelError, match=message):
        causal.causal_lm(_config(), path=folder)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    folder = _save(tmp_path, [_weights()])
    with pytest.raises(ModelError, match=r"consolidated weights of a Llama, and the config is a gpt2"):
        causal.causal_lm(transformers.GPT2Config(n_layer=1), path=folder)


def test_parts_and_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    one, two = _split(_weights(), 2)
    del two["norm.weight"]
    with pytest.raises(ModelError, match=r"norm.weight is in 1 of 2 parts"):
        causal.causal_lm(_config(), path=_save(tmp_path, [one, two]))
    (tmp_path / "consolidated.01.pth").unlink()
    with pytest.raises(ModelError, match=r"lm_head.weight is 32 x 32 in its files, and 64 x 32 in the model"):
        causal.causal_lm(_config(), path=str(tmp_path))
    whole = _weights() | {"layers.0.experts.w9": torch.ones(1)}
    with pytest.raises(ModelError, match=r"1 in its files are not in the model \(layers.0.experts.w9\)"):
        causal.causal_lm(_config(), path=_save(tmp_path, [whole]))


def test_broken_parameters_are_refused(tmp_path: Path) -> None:
    folder = _save(tmp_path, [_weights()])
    (tmp_path / "params.json").write_text("{")
    with pytest.raises(FileError, match=r"params\.json:1: this is not JSON"):
        causal.causal_lm(_config(), path=folder)
