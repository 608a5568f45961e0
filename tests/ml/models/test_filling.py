"""Stored weights in a model: those of many architectures, and all that can be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from families import FAMILIES, tiny_config

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")
filling = pytest.importorskip("forge.ml.models.filling")
safetensors = pytest.importorskip("safetensors.torch")

TYPES = [torch.float32, torch.bfloat16]
MEGABYTE = 1 << 20


def _random(family: str) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(tiny_config(family))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def _named(model: Any) -> dict[str, Any]:
    """Parameters and buffers, also those that no file holds."""
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}


def _theirs(path: Path, dtype: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_and_buffer_is_the_one_of_transformers(family: str, tmp_path: Path) -> None:
    _random(family).save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    ids = torch.randint(3, 90, (2, 12))
    for dtype in TYPES:
        theirs = _theirs(tmp_path, dtype)
        ours = causal.causal_lm(path=str(tmp_path), dtype=dtype, attn_implementation="eager")
        expected, found = _named(theirs), _named(ours)
        assert found.keys() == expected.keys()
        assert [name for name, tensor in expected.items() if found[name].dtype != tensor.dtype] == []
        assert [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)] == []
        assert ours.config.to_dict() == theirs.config.to_dict()
        assert ours.generation_config.to_dict() == theirs.generation_config.to_dict()
        assert ours.training is theirs.training
        with torch.no_grad():
            assert torch.equal(ours(ids).logits, theirs(ids).logits)


@pytest.mark.parametrize("family", ["llama-tied", "gpt2", "mixtral", "qwen3_moe"])
def test_what_torch_saved_fills_a_model_too(family: str, tmp_path: Path) -> None:
    model = _random(family)
    model.save_pretrained(tmp_path)
    torch.save(safetensors.load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    expected = causal.causal_lm(path=str(tmp_path)).state_dict()
    os.remove(tmp_path / "model.safetensors")
    found = causal.causal_lm(path=str(tmp_path)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2"])
def test_a_base_model_without_its_head_and_older_names_are_read(family: str, tmp_path: Path) -> None:
    model = _random(family)
    if family == "llama":
        model.lm_head.weight = model.model.embed_tokens.weight
        model.config.tie_word_embeddings = True
    model.save_pretrained(tmp_path)
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    prefix = f"{model.base_model_prefix}."
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    bare["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)  # long ago a part of every file
    bare = bare if family != "gpt2" else {n: t for n, t in bare.items() if "inv_freq" not in n}
    safetensors.save_file(bare, tmp_path / "model.safetensors")
    found = causal.causal_lm(path=str(tmp_path)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def _drop(tensors: dict[str, Any]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"], tensors["model.norm.weight"]


def _add(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.ones(1)


def _reshape(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.ones(48, 31)


def _lose_layer(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if "layers.1." in name]:
        del tensors[name]


def _lose_head(tensors: dict[str, Any]) -> None:
    del tensors["lm_head.weight"]


MISTAKES: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    r"2 weights of the model are not in its files \(model.layers.1.mlp.up_proj.weight, model.norm.weight\)": (
        "llama",
        _drop,
    ),
    r"1 in its files are not in the model \(model.layers.0.self_attn.q_proj.bias\)": ("llama", _add),
    r"model.layers.0.mlp.up_proj.weight is 48 x 31 in its files, and 48 x 32 in the model": ("llama", _reshape),
    r"\d+ weights of the model are not in its files \(model.layers.1.input_layernorm.weight, .* \.\.\.\)": (
        "llama",
        _lose_layer,
    ),
    r"1 weights of the model are not in its files \(lm_head.weight\)": ("llama", _lose_head),
    r"model.layers.0.mlp.experts.gate_up_proj cannot be made of its files": (
        "mixtral",
        lambda tensors: tensors.pop(next(name for name in tensors if "layers.0" in name and "experts.1.w1" in name)),
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_weights_that_do_not_fit_are_named_and_never_made_up(message: str, tmp_path: Path) -> None:
    family, mistake = MISTAKES[message]
    _random(family).save_pretrained(tmp_path)
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    mistake(tensors)
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=message) as caught:
        causal.causal_lm(path=str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_nothing_is_read_before_the_names_are_compared() -> None:
    model = _random("llama")
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(model.config)
    from forge.ml.models.stored import Stored

    def never() -> Any:
        raise AssertionError

    stored = {
        name: Stored(name, "F", tuple(tensor.shape), tensor.dtype, never) for name, tensor in model.state_dict().items()
    }
    stored["model.norm.weight"] = Stored("model.norm.weight", "F", (31,), torch.float32, never)
    with pytest.raises(ModelError, match=r"model.norm.weight is 31 in its files, and 32 in the model"):
        filling.fill(empty, stored, folder="F")


PROGRAM = """
import json, os, sys, time
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from transformers import AutoModelForCausalLM
from forge.ml.models import causal_lm

def memory(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) << 10

how, folder, small, dtype = sys.argv[1], sys.argv[2], sys.argv[3], getattr(torch, sys.argv[4])
def load(path):
    if how == "forge":
        return causal_lm(path=path, dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
load(small)  # what is imported late is not counted
open("/proc/self/clear_refs", "w").write("5")
before, began = memory("VmRSS"), time.perf_counter()
model = load(folder)
print(json.dumps([memory("VmHWM") - before, sum(p.nbytes for p in model.parameters()), time.perf_counter() - began]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux to see the peak of one call")
@pytest.mark.parametrize(
    ("saved", "dtype"),
    [("safetensors", "bfloat16"), ("bin", "float32")]
    + ([("safetensors", "float32"), ("bin", "bfloat16")] if os.environ.get("FORGE_FULL") else []),
)
def test_the_peak_is_the_weights_and_one_shard_at_most(saved: str, dtype: str, tmp_path: Path) -> None:
    # The largest weight has 25 MB: the C library may keep twice as much that was freed, which a shard has to be larger than.
    shard = 64 * MEGABYTE
    sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 9, "vocab_size": 8192, "head_dim": 64}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=12, num_key_value_heads=12)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    model.save_pretrained(tmp_path / "large", max_shard_size=shard)
    _random("llama").save_pretrained(tmp_path / "small")
    if saved == "bin":
        _as_bins(tmp_path / "large")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "forge", tmp_path / "large", tmp_path / "small", dtype],
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    peak, weights, _ = json.loads(done.stdout.splitlines()[-1])
    assert weights > (280 if dtype == "float32" else 140) * MEGABYTE
    assert peak <= weights + shard


def _as_bins(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for name in set(index["weight_map"].values()):
        torch.save(safetensors.load_file(folder / name), folder / name.replace(".safetensors", ".bin"))
        os.remove(folder / name)
    weight_map = {tensor: name.replace(".safetensors", ".bin") for tensor, name in index["weight_map"].items()}
    os.remove(folder / "model.safetensors.index.json")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_pieces_of_weights_are_trained_as_whole_ones_are(tmp_path: Path) -> None:
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    def cut(model: Any) -> None:
        model.get_input_embeddings().weight.requires_grad_(False)  # as an adapter would
        fully_shard(model)

    _random("llama").save_pretrained(tmp_path)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with causal.deferred_weights():
            empty = causal.causal_lm(path=str(tmp_path))
        model = causal.materialise_spread(empty, torch.device("cpu"), lambda _: None, cut)
        trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        assert all(hasattr(parameter, "device_mesh") for parameter in model.parameters())
    finally:
        distributed.destroy_process_group()
    assert [name for name, there in trained.items() if not there] == ["model.embed_tokens.weight"]


def test_a_class_that_torch_has_made_of_the_models_reads_older_names_too(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from forge.ml.models.weights import read_weights

    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 97,
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_neox", **sizes))
    model.save_pretrained(tmp_path)
    model.__class__ = type("FSDPGPTNeoXForCausalLM", (type(model),), {"__module__": __name__})
    read_weights(model, str(tmp_path))
    assert type(model).__name__ == "FSDPGPTNeoXForCausalLM"
