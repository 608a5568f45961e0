"""Runs and their checkpoints as model folders that stand on their own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import CheckpointError, ModelError, UsageError
from forge.ml.checkpoint.manifest import Score
from forge.ml.checkpoint.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
export = pytest.importorskip("forge.ml.convert.export")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def _save(output: Path, folder: Path, step: int, score: float | None = None) -> Path:
    """A checkpoint of a run with the files of a folder."""
    run = output / "runs" / "20260101-000000-tiny"
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_text(json.dumps({"config": "chat/tiny", "project": "demo", "overrides": ["a=1|2"]}))
    (run / "config.yaml").write_text("dataset: {paths: [talk.jsonl]}\nmodel: {path: /models/base}\n")
    (run / "metrics.jsonl").write_text('{"loss": 2.5}\n{"eval_loss": 3}\n{"los')
    store = Store(output / "checkpoints")
    with store.begin(step) as stage:
        for name in sorted(os.listdir(folder)):
            stage.write_bytes(name, (folder / name).read_bytes())
        stage.write_json("state/state.json", {})
        path = stage.commit(
            {"run": str(run), "epoch": 0.5, "tokens": 1234}, None if score is None else Score("eval_loss", score)
        )
    store.release()
    return type(output)(path)


def _templated(folder: Path) -> Path:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return folder


def _exported(what: Any, target: Path, **settings: Any) -> Path:
    from forge.ml.convert.convert import write_model

    with export.exported(what, name=target.name, **settings) as made:
        write_model(str(target), made, 10**9, lambda _size: None)
    return target


def test_the_newest_the_best_or_the_named_checkpoint_is_taken(
    model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, output = model_folder(), tmp_path / "out"
    first, second = _save(output, folder, 1, 2.0), _save(output, folder, 2, 3.0)
    assert export.chosen(str(output)).folder == str(second)
    assert export.chosen(str(output / "runs" / "20260101-000000-tiny")).folder == str(second)
    assert export.chosen(str(output), best=True).folder == str(first)
    assert export.chosen(str(output), checkpoint="1").folder == str(first)
    assert export.chosen(str(output), checkpoint=str(first)).folder == str(first)
    assert export.chosen(str(first)).folder == str(first)
    (second / "model.safetensors").write_bytes(b"torn")
    said: list[str] = []
    assert export.chosen(str(output), say=said.append).folder == str(first)
    assert "is skipped" in said[0]
    with pytest.raises(CheckpointError, match=r"checkpoint-2 cannot be used: model\.safetensors has 4 bytes"):
        export.chosen(str(output), checkpoint="2")
    with pytest.raises(CheckpointError, match="checkpoint-9"):
        export.chosen(str(output), checkpoint="9")
    with pytest.raises(CheckpointError, match="--best chooses a checkpoint"):
        export.chosen(str(output), checkpoint="1", best=True)
    with pytest.raises(UsageError, match="there are no checkpoints in"):
        export.chosen(str(folder))


def test_a_model_goes_out_with_its_card_and_what_others_read(
    model_folder: Callable[..., Path], tensors_of: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    folder = _templated(model_folder(dtype=torch.bfloat16))
    _save(tmp_path / "out", folder, 7, 1.25)
    new = _exported(export.chosen(str(tmp_path / "out")), tmp_path / "new")
    before, after = tensors_of(folder), tensors_of(new)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    card = (new / "README.md").read_text()
    for fact in (
        *(
            "library_name: transformers",
            "# new",
            "trained from base",
            "| config | chat/tiny |",
            "| changes | a=1\\|2 |",
        ),
        *("| steps | 7 |", "| tokens | 1,234 |", "| eval_loss | 1.2500 |", "| last training loss | 2.5000 |"),
        *("talk.jsonl", "Generation stops at `<|im_end|>`"),
    ):
        assert fact in card
    stop = transformers.AutoTokenizer.from_pretrained(new).convert_tokens_to_ids("<|im_end|>")
    assert transformers.AutoModelForCausalLM.from_pretrained(new).generation_config.eos_token_id == [stop, 2]
    assert "state" not in os.listdir(new)


# What the loader of vLLM and the converter of llama.cpp look for in a Llama's folder.
CONFIG_KEYS = {
    *(
        "architectures",
        "model_type",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "torch_dtype",
    ),
    *(
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "max_position_embeddings",
        "rope_theta",
        "hidden_act",
    ),
    *("tie_word_embeddings", "bos_token_id", "eos_token_id"),
}
OLD_KINDS = {"LlamaTokenizerFast", "PreTrainedTokenizerFast", "GPT2TokenizerFast", "Qwen2TokenizerFast"}
LAYER = {
    *(f"self_attn.{name}_proj.weight" for name in "qkvo"),
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    *("input_layernorm.weight", "post_attention_layernorm.weight"),
}


def test_its_files_hold_to_what_vllm_and_llama_cpp_read(
    model_folder: Callable[..., Path], tensors_of: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope["original_max_position_embeddings"] = 32
    folder = _templated(model_folder(rope_parameters=rope))
    _save(tmp_path / "out", folder, 1)
    new = _exported(export.chosen(str(tmp_path / "out")), tmp_path / "new", dtype="float16")
    config = json.loads((new / "config.json").read_text())
    assert set(config) >= CONFIG_KEYS
    assert config["rope_scaling"]["rope_type"] == "llama3"
    assert config["torch_dtype"] == "float16"
    names = {f"model.layers.{layer}.{name}" for layer in range(2) for name in LAYER}
    tensors = tensors_of(new)
    assert set(tensors) == names | {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert len(tensors["model.embed_tokens.weight"]) == config["vocab_size"]
    from safetensors import safe_open

    with safe_open(new / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    tokenizer = json.loads((new / "tokenizer.json").read_text())
    assert tokenizer["model"]["type"] == "BPE"
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    assert added["<|im_end|>"]["special"]
    assert all(token["id"] < config["vocab_size"] for token in added.values())
    settings = json.loads((new / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] in OLD_KINDS
    assert (settings["bos_token"], settings["eos_token"]) == ("<s>", "</s>")
    assert (new / "chat_template.jinja").read_text() == CHATML
    assert set(json.loads((new / "generation_config.json").read_text())) >= {"bos_token_id", "eos_token_id"}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gpt2"])
def test_llama_cpp_s_own_library_knows_every_tensor_and_token(
    model_folder: Callable[..., Path], tensors_of: Callable[[Any], dict[str, Any]], tmp_path: Path, family: str
) -> None:
    gguf = pytest.importorskip("gguf")  # what its converter is written with
    _save(tmp_path / "out", _templated(model_folder(family)), 1)
    new = _exported(export.chosen(str(tmp_path / "out")), tmp_path / "new")
    kind = getattr(gguf.MODEL_ARCH, {"mistral": "LLAMA"}.get(family, family.upper()))
    names = gguf.get_tensor_name_map(kind, 2)
    unknown = [name for name in tensors_of(new) if names.get_name(name, try_suffixes=(".weight", ".bias")) is None]
    assert unknown == []
    found = gguf.SpecialVocab(new, load_merges=True)
    stop = transformers.AutoTokenizer.from_pretrained(new).convert_tokens_to_ids("<|im_end|>")
    assert found.special_token_ids["bos"] == 1
    assert found.special_token_ids["eos"] in (2, stop)
    assert found.chat_template == CHATML


def _adapter(base: Path, path: Path, **settings: Any) -> Path:
    import peft

    from forge.ml.models.adapter import put_adapter

    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    wrapped = put_adapter(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], **settings))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1)
    wrapped.save_pretrained(path)
    (path / "README.md").unlink()
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(path)
    return path


def test_an_adapter_is_merged_into_its_base_model(
    model_folder: Callable[..., Path], tensors_of: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    base = _templated(model_folder())
    (base / "LICENSE").write_text("free")
    (base / "README.md").write_text("---\nlicense: mit\nbase_model: me/base\n---\n# base\n")
    adapter = _adapter(base, tmp_path / "adapter", use_dora=True)
    _save(tmp_path / "out", adapter, 3)
    new = _exported(export.chosen(str(tmp_path / "out")), tmp_path / "new")
    before, after = tensors_of(base), tensors_of(new)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(2)
    }
    card = (new / "README.md").read_text()
    assert "license: mit" in card
    assert "base_model: me/base" in card
    assert "trained from llama with DoRA, which is merged" in card
    assert (new / "LICENSE").read_text() == "free"
    assert not (new / "adapter_config.json").exists()
    assert transformers.AutoModelForCausalLM.from_pretrained(new).config.vocab_size == 264
    # An adapter that is in no run, and a base model that has moved.
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"which is no folder here(?s:.*)--base"):
        _exported(export.chosen(str(adapter)), tmp_path / "other")
    other = _exported(export.chosen(str(adapter)), tmp_path / "other", base=str(moved))
    assert all(torch.equal(after[name], tensor) for name, tensor in tensors_of(other).items())
    # One that somebody else has trained comes without a tokenizer.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (adapter / name).unlink()
    bare = _exported(export.chosen(str(adapter)), tmp_path / "bare", base=str(moved))
    assert (bare / "tokenizer.json").read_text() == (other / "tokenizer.json").read_text()
    with pytest.raises(ModelError, match="is a whole model and no adapter"):
        _exported(export.Chosen(str(moved)), tmp_path / "third", base=str(moved))


def test_an_adapter_on_an_assembled_gpt2_is_merged_too(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    tmp_path: Path,
) -> None:
    pytest.importorskip("peft")
    base = model_folder("gpt2")
    assembled = converted(base, tmp_path / "assembled", to="assembled")
    adapter = _adapter(assembled, tmp_path / "adapter")
    new = _exported(export.chosen(str(adapter)), tmp_path / "new", base=str(base))
    before, after = tensors_of(base), tensors_of(new)
    name = "transformer.h.0.attn.c_attn.weight"
    assert not torch.equal(before[name][:, :32], after[name][:, :32])
    assert torch.equal(before[name][:, 32:], after[name][:, 32:])
