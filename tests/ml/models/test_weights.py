"""Weights read back into a model that has some already, as a run that resumes does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from families import tiny_config

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")
save = pytest.importorskip("forge.ml.models.save")
weights = pytest.importorskip("forge.ml.models.weights")
safetensors = pytest.importorskip("safetensors.torch")


def _save(model: Any, folder: Path) -> str:
    files = dict(save.model_files(model)) | save.config_files(model)
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            safetensors.save_file(content, folder / name, metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("family", ["llama", "llama-tied", "mixtral", "gpt2"])
def test_a_model_gets_back_what_was_saved_in_place(family: str, tmp_path: Path) -> None:
    model = causal.causal_lm(tiny_config(family), seed=1)
    folder = _save(model, tmp_path)
    other = causal.causal_lm(tiny_config(family), seed=2)
    held = dict(other.named_parameters())
    weights.load_weights(other, folder)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in other.state_dict().items())
    assert all(parameter is held[name] for name, parameter in other.named_parameters())


def test_an_assembled_folder_is_read_whatever_its_names_are(tmp_path: Path) -> None:
    """A decoder from parts may be saved under its own names, as a conversion does, or under those of the family it equals."""
    plain = transformers.GPT2Config(
        vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
    )
    assembled = pytest.importorskip("forge.ml.convert.assembly").assembled_config(plain)
    model = causal.causal_lm(assembled, seed=1)
    own, family = tmp_path / "own", tmp_path / "family"
    own.mkdir()
    family.mkdir()
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}  # it is tied
    safetensors.save_file(tensors, own / "model.safetensors", metadata={"format": "pt"})
    _save(model, family)
    assert "transformer.wte.weight" in safetensors.load_file(family / "model.safetensors")
    for folder in (own, family):
        other = causal.causal_lm(assembled, seed=2)
        weights.load_weights(other, str(folder))
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_an_adapter_gets_back_what_was_saved(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")

    def tuned(seed: int, rank: int = 4) -> Any:
        adapter = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules="all-linear", init_lora_weights=False)
        return causal.causal_lm(tiny_config("llama"), adapter=adapter, seed=seed)

    model = tuned(1)
    folder = _save(model, tmp_path)
    other = tuned(2)
    weights.load_weights(other, folder)
    found, expected = other.state_dict(), model.state_dict()
    assert [name for name in expected if "lora" in name and not torch.equal(found[name], expected[name])] == []
    with pytest.raises(ModelError, match=r"does not fit the adapter: .* of another shape"):
        weights.load_weights(tuned(2, rank=2), folder)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter_model.safetensors cannot be read"):
        weights.load_weights(other, folder)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = _save(causal.causal_lm(tiny_config("llama")), tmp_path)
    with pytest.raises(ModelError, match=r"does not fit a GPT2LMHeadModel"):
        weights.load_weights(causal.causal_lm(tiny_config("gpt2")), folder)
