"""Adapters merged one tensor at a time are what peft makes of them whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
adapter = pytest.importorskip("forge.ml.models.adapter")
merge = pytest.importorskip("forge.ml.convert.merge")
source = pytest.importorskip("forge.ml.convert.source")

LINEAR = ["q_proj", "down_proj"]
CASES = [
    ("llama", {"target_modules": LINEAR}),
    ("llama", {"target_modules": LINEAR, "use_dora": True}),
    (
        "llama",
        {
            "target_modules": LINEAR,
            "use_rslora": True,
            "alpha_pattern": {"down_proj": 4},
            "rank_pattern": {"q_proj": 2},
        },
    ),
    ("llama", {"target_modules": ["embed_tokens", "v_proj"], "modules_to_save": ["lm_head"]}),
    ("llama", {"target_modules": LINEAR, "bias": "all"}),
    ("gpt2", {"target_modules": ["c_attn"]}),
    ("gpt2", {"target_modules": ["c_attn", "c_fc"], "use_dora": True}),
]


@pytest.fixture
def adapted(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Puts an adapter with random numbers on a folder's model: its own folder, and the merged weights."""

    def put(folder: Path, **settings: Any) -> tuple[Path, dict[str, Any]]:
        torch.manual_seed(5)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **settings)
        wrapped = adapter.put_adapter(model, config)
        with torch.no_grad():
            for weight in wrapped.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight), alpha=0.05)
        wrapped.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter", dict(wrapped.merge_and_unload().state_dict())

    return put


def _merged(base: Path, folder: Path) -> dict[str, Any]:
    with source.open_source(str(base)) as opened:
        model = source.empty_model(opened.config)
        found = merge.merged(model, opened.tensors, merge.read_adapter(str(folder)))
        tensors = {name: stored.read() for name, stored in found.items()}
        for name, stored in found.items():
            assert torch.allclose(torch.cat(list(stored.portions(300))), tensors[name], atol=1e-6), name
        return tensors


@pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning", "ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_the_weights_are_those_that_peft_makes(
    model_folder: Callable[..., Path],
    adapted: Callable[..., tuple[Path, dict[str, Any]]],
    family: str,
    settings: dict[str, Any],
) -> None:
    more = {"attention_bias": True} if settings.get("bias") else {}
    base = model_folder(family, **more)
    folder, expected = adapted(base, **settings)
    found = _merged(base, folder)
    before = transformers.AutoModelForCausalLM.from_pretrained(base).state_dict()
    changed = {name for name in found if not torch.equal(found[name], before[name])}
    assert changed == {name for name in found if not torch.equal(expected[name], before[name])}
    assert changed
    for name, tensor in found.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name


def test_an_adapter_of_another_model_is_refused(
    model_folder: Callable[..., Path], adapted: Callable[..., tuple[Path, dict[str, Any]]]
) -> None:
    folder, _ = adapted(model_folder(), target_modules=LINEAR)
    with pytest.raises(ModelError, match=r"down_proj is for 32 x 48, and the base model has 64 x 48(?s:.*)--base"):
        _merged(model_folder(name="wide", hidden_size=64, head_dim=16), folder)
    with pytest.raises(ModelError, match=r"fit nothing in the base model"):
        _merged(model_folder(name="short", num_hidden_layers=1), folder)


def test_kinds_that_cannot_be_merged_are_named(
    model_folder: Callable[..., Path], adapted: Callable[..., tuple[Path, dict[str, Any]]]
) -> None:
    folder, _ = adapted(model_folder(), target_modules=LINEAR)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    for change, message in (
        ({"peft_type": "IA3"}, "of the kind IA3 cannot be merged"),
        ({"lora_bias": True}, "with lora_bias cannot be merged"),
    ):
        path.write_text(json.dumps({**config, **change}))
        with pytest.raises(ModelError, match=message):
            merge.read_adapter(str(folder))
    path.write_text("{")
    with pytest.raises(FileError, match=r"adapter_config\.json:1: this is not JSON"):
        merge.read_adapter(str(folder))
    path.write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"0" * 40)
    with pytest.raises(ModelError, match="is not a right safetensors file"):
        merge.read_adapter(str(folder))


def test_what_an_adapter_says_of_itself(
    model_folder: Callable[..., Path], adapted: Callable[..., tuple[Path, dict[str, Any]]]
) -> None:
    base = model_folder()
    found = merge.read_adapter(str(adapted(base, target_modules=LINEAR)[0]))
    assert found.base == str(base)
    assert found.in_assembly
    assert set(found.low_rank["model.layers.0.self_attn.q_proj"]) == {"lora_A", "lora_B"}
