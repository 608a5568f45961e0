"""Folders of assembled decoders, loaded here and in a process that has no forge."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")
save = pytest.importorskip("forge.ml.models.save")

# Loads each folder, computes logits and generates; importing forge fails there.
PROGRAM = """
import json, os, sys
sys.modules["forge"] = None
import torch
from transformers import AutoModelForCausalLM
tokens = torch.arange(24).view(2, 12)
for folder in sys.argv[1:]:
    own = os.path.exists(os.path.join(folder, "modeling_forge_decoder.py"))
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=own).eval()
    torch.save(model(tokens).logits, os.path.join(folder, "logits.pt"))
    made = model.generate(tokens, max_new_tokens=3, do_sample=False, attention_mask=torch.ones_like(tokens), pad_token_id=0)
    model.save_pretrained(os.path.join(folder, "again"))
    print(json.dumps([type(model).__name__, type(model).__module__.split(".")[0], made.tolist()]))
assert not [name for name in sys.modules if name.startswith("forge.")]
"""
ASSEMBLIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "qwen3": (
        "Qwen3ForCausalLM",
        {
            "attention": decoder.MultiHeadAttention(num_heads=4, qk_norm=decoder.RMSNorm()),
            "tie_word_embeddings": True,
        },
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {
            "attention": decoder.MultiHeadAttention(num_heads=4, qkv_bias=True, output_bias=True),
            "feed_forward": decoder.Mlp(intermediate_size=48),
            "norm": decoder.LayerNorm(),
            "position": decoder.LearnedPositions(),
            "scaled_residual_init": True,
            "tie_word_embeddings": True,
        },
    ),
    "alibi": ("DecoderForCausalLM", {"position": decoder.Alibi()}),
    "unknown": (
        "DecoderForCausalLM",
        {
            "layers": [
                decoder.PostNorm(
                    attention=decoder.MultiHeadAttention(num_heads=4, sliding_window=5),
                    feed_forward=decoder.Mlp(intermediate_size=48),
                    norm=decoder.LayerNorm(bias=False),
                )
            ],
            "norm": None,
            "position": decoder.Rotary(rope_type="dynamic", factor=2.0),
            "tie_word_embeddings": True,
        },
    ),
}


OWN = """
from dataclasses import dataclass
import torch
from forge.ml.models.decoder import Attention, RMSNorm, SelfAttention

@dataclass(frozen=True)
class UnitNorm(RMSNorm):
    def module(self, size: int) -> torch.nn.Module:
        return torch.nn.RMSNorm(size, eps=self.eps)

@dataclass(frozen=True, kw_only=True)
class Doubled(Attention):
    times: float = 2.0
    def module(self, config, layer_idx):
        return DoubledAttention(self, config, layer_idx)

class DoubledAttention(SelfAttention):
    def __init__(self, part, config, layer_idx):
        super().__init__(part, config, layer_idx)
        self.times = part.times

    def forward(self, *args, **settings):
        found, weights = super().forward(*args, **settings)
        return found * self.times, weights
"""


@pytest.fixture
def own_assembly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An assembly with parts that a project wrote, in a folder that no other process imports from."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own_parts_for_a_process.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    own = importlib.import_module("own_parts_for_a_process")
    return {"norm": own.UnitNorm(), "attention": own.Doubled(num_heads=4, times=1.5)}


@pytest.mark.slow
def test_a_process_without_forge_loads_what_was_saved(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tmp_path: Path, own_assembly: dict[str, Any]
) -> None:
    tokens = torch.arange(24).view(2, 12)
    assemblies = ASSEMBLIES | {"own": ("DecoderForCausalLM", own_assembly)}
    models = {name: model_of(config_of(**changes)) for name, (_, changes) in assemblies.items()}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in models)],
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    for (name, model), line in zip(models.items(), done.stdout.splitlines(), strict=True):
        kind, package, made = json.loads(line)
        expected = assemblies[name][0]
        assert (kind, package) == (expected, "transformers_modules" if expected.startswith("Dec") else "transformers")
        logits = torch.load(tmp_path / name / "logits.pt", weights_only=True)
        torch.testing.assert_close(logits, model(tokens).logits, rtol=1e-5, atol=1e-5 if name == "gpt2" else 0)
        wanted = {"max_new_tokens": 3, "do_sample": False, "attention_mask": torch.ones_like(tokens)}
        assert made == model.generate(tokens, pad_token_id=0, **wanted).tolist()
        assert os.path.exists(tmp_path / name / "again" / "modeling_forge_decoder.py") is expected.startswith("Dec")


@pytest.mark.parametrize("name", ["alibi", "unknown"])
def test_here_its_folder_is_loaded_without_trusting_its_code(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any, tmp_path: Path, name: str
) -> None:
    model = model_of(config_of(**ASSEMBLIES[name][1]))
    model.save_pretrained(tmp_path)
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(found) is decoder.AssembledForCausalLM
    assert torch.equal(found(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize("by", ["transformers", "forge"])
def test_its_folder_names_the_class_that_is_in_its_code(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tmp_path: Path, by: str
) -> None:
    model = model_of(config_of(**ASSEMBLIES["alibi"][1])).to(torch.bfloat16)
    if by == "transformers":
        model.save_pretrained(tmp_path)
        files = {name: (tmp_path / name).read_bytes() for name in ("config.json", "modeling_forge_decoder.py")}
    else:
        files = save.config_files(model)
    written = json.loads(files["config.json"])
    assert written["architectures"] == ["DecoderForCausalLM"]
    assert written["auto_map"]["AutoModelForCausalLM"] == "modeling_forge_decoder.DecoderForCausalLM"
    assert b"class DecoderForCausalLM(" in files["modeling_forge_decoder.py"]
    assert written["dtype"] == "bfloat16"


def test_a_familys_folder_has_the_familys_config(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tmp_path: Path
) -> None:
    model_of(config_of()).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["model_type"], written["architectures"]) == ("llama", ["LlamaForCausalLM"])
    assert "auto_map" not in written
    assert not (tmp_path / "modeling_forge_decoder.py").exists()
