"""Models from scratch, from a folder, and with an adapter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")


def _config() -> Any:
    return transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )


def _same(one: Any, other: Any) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_new_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = causal.causal_lm(_config(), seed=7)
    torch.manual_seed(2)
    assert _same(first, causal.causal_lm(_config(), seed=7))
    assert not _same(first, causal.causal_lm(_config(), seed=8))


def test_the_generators_of_the_caller_are_left_as_they_were() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    causal.causal_lm(_config())
    assert torch.equal(before, torch.random.get_rng_state())


def test_dtype_and_attention_are_the_asked_ones() -> None:
    model = causal.causal_lm(_config(), dtype=torch.bfloat16, attn_implementation="eager")
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


def test_a_saved_model_is_read_back_from_its_folder(tmp_path: Path) -> None:
    model = causal.causal_lm(_config())
    model.save_pretrained(tmp_path)
    assert _same(model, causal.causal_lm(path=str(tmp_path)))
    assert _same(model, causal.causal_lm(_config(), path=str(tmp_path)))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = causal.causal_lm(_config())
    model.save_pretrained(tmp_path)
    os.remove(tmp_path / "model.safetensors")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        causal.causal_lm(path=str(tmp_path))


# peft asks transformers for a name that transformers is about to drop; neither is ours to change.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_leaves_few_parameters_to_train() -> None:
    peft = pytest.importorskip("peft")
    model = causal.causal_lm(
        _config(), adapter=peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    )
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_a_model_that_is_nowhere_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="there is no model folder nowhere"):
        causal.causal_lm(path="nowhere")
    with pytest.raises(ValueError, match="needs a config"):
        causal.causal_lm()
