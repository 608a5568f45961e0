from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")
from forge.base.errors import ModelError, UsageError  # noqa: E402 - what follows needs torch
from forge.ml.serve.loading import free_tokens, load_served_model, serving_device  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_sizes import TINY
    from transformers import LlamaConfig, LlamaForCausalLM

    path = shutil.copytree(folder, tmp_path_factory.mktemp("weights") / "model")
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**{**TINY, "vocab_size": 261})).to(torch.bfloat16).save_pretrained(path)
    return path


def test_a_model_is_read_in_its_own_type_or_in_another(model_folder: Path) -> None:
    model = load_served_model(str(model_folder), CPU)
    assert model.dtype == torch.bfloat16
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not model.training
    assert load_served_model(str(model_folder), CPU, dtype="float32").dtype == torch.float32
    assert free_tokens(model) > 1000


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_is_merged(model_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    plain = load_served_model(str(model_folder), CPU, dtype="float32")
    tuned = get_peft_model(
        load_served_model(str(model_folder), CPU, dtype="float32"),
        LoraConfig(target_modules=["q_proj"], init_lora_weights=False, r=2),
    )
    tuned.save_pretrained(tmp_path / "adapter")
    merged = load_served_model(str(model_folder), CPU, dtype="float32", adapter=str(tmp_path / "adapter"))
    ids = torch.tensor([[5, 6, 7]])
    assert torch.allclose(merged(ids).logits, tuned(ids).logits, atol=1e-5)
    assert not torch.allclose(merged(ids).logits, plain(ids).logits, atol=1e-5)
    with pytest.raises(ModelError, match="holds no adapter"):
        load_served_model(str(model_folder), CPU, adapter=str(model_folder))
    with pytest.raises(ModelError, match="adapter"):
        load_served_model(str(tmp_path / "adapter"), CPU)


def test_a_model_that_has_no_sdpa_attends_as_it_can(tmp_path: Path) -> None:
    from tiny_sizes import TINY
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt_oss", **{**TINY, "head_dim": 8, "num_local_experts": 2})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert load_served_model(str(tmp_path), CPU).config._attn_implementation == "eager"
    with pytest.raises(ModelError, match=r"(?s)scaled_dot_product.*take auto, or eager"):
        load_served_model(str(tmp_path), CPU, attention="sdpa")


def test_a_device_is_chosen() -> None:
    assert serving_device("cpu") == CPU
    assert serving_device().type in {"cpu", "cuda"}
    for name in ("nosuch", "cuda:99", "cpu:x"):
        with pytest.raises(UsageError, match=rf"(?s)no device '{name}' here.*--device cpu"):
            serving_device(name)
