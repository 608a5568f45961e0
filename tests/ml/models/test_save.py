"""What is saved is what others load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from families import FAMILIES, tiny_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")
save = pytest.importorskip("forge.ml.models.save")
tokenizers = pytest.importorskip("forge.ml.data.tokenizer")
safetensors = pytest.importorskip("safetensors.torch")
corpus = pytest.importorskip("forge.ml.data.corpus")


def _write(model: Any, folder: Path, tokenizer: Any = None, shard: int = 5 << 30) -> str:
    folder.mkdir(exist_ok=True)
    files = dict(save.model_files(model, shard)) | save.config_files(model, tokenizer)
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            safetensors.save_file(content, folder / name, metadata={"format": "pt"})
    return str(folder)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_files_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    model = causal.causal_lm(tiny_config(family), dtype=torch.bfloat16, attn_implementation="auto")
    _write(model, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    names = sorted(os.listdir(tmp_path / "theirs"))
    assert sorted(os.listdir(tmp_path / "ours")) == names
    for name in names:
        if name.endswith(".json"):
            ours, theirs = (json.loads((tmp_path / who / name).read_text()) for who in ("ours", "theirs"))
            assert ours == theirs
    ours, theirs = (safetensors.load_file(tmp_path / who / "model.safetensors") for who in ("ours", "theirs"))
    assert _same(ours, theirs)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.bfloat16)
    assert _same(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("family", ["llama", "llama-tied", "mixtral"])
def test_what_was_read_is_saved_as_it_was(family: str, tmp_path: Path) -> None:
    causal.causal_lm(tiny_config(family)).save_pretrained(tmp_path / "first")
    _write(causal.causal_lm(path=str(tmp_path / "first")), tmp_path / "second")
    one, two = (safetensors.load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert _same(one, two)


def test_a_large_model_is_split_and_indexed(tmp_path: Path) -> None:
    model = causal.causal_lm(tiny_config("llama"))
    _write(model, tmp_path, shard=20_000)
    shards = [name for name in os.listdir(tmp_path) if name.endswith(".safetensors")]
    assert len(shards) > 2
    assert all(os.path.getsize(tmp_path / name) < 20_000 + 4096 for name in shards)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in model.state_dict().values())
    assert set(index["weight_map"].values()) == set(shards)
    for again in (causal.causal_lm(path=str(tmp_path)), transformers.AutoModelForCausalLM.from_pretrained(tmp_path)):
        assert _same(again.state_dict(), model.state_dict())


def test_the_tokenizer_and_its_template_are_files_too(tmp_path: Path) -> None:
    texts = corpus.TextCorpus(train=("the quick brown fox jumps over the lazy dog " * 5,))
    tokenizer = tokenizers.train_bpe(texts, 280)
    files = save.config_files(causal.causal_lm(tiny_config("llama")), tokenizer)
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} < set(files)
    folder = _write(causal.causal_lm(tiny_config("llama")), tmp_path, tokenizer)
    again = transformers.AutoTokenizer.from_pretrained(folder)
    assert again.chat_template == tokenizer.chat_template
    assert again("the fox").input_ids == tokenizer("the fox").input_ids


def test_generation_settings_that_contradict_themselves_do_not_stop_a_save(tmp_path: Path) -> None:
    causal.causal_lm(tiny_config("llama")).save_pretrained(tmp_path)
    settings = {"do_sample": False, "temperature": 0.6, "eos_token_id": 2}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    files = save.config_files(causal.causal_lm(path=str(tmp_path)))
    assert settings.items() <= json.loads(files["generation_config.json"]).items()


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PeftModel.from_pretrained is peft's own
def test_an_adapter_is_saved_alone_and_read_by_peft(tmp_path: Path, dora: object) -> None:
    peft = pytest.importorskip("peft")
    base = tmp_path / "base"
    causal.causal_lm(tiny_config("llama")).save_pretrained(base)
    adapter = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", use_dora=dora, init_lora_weights=False
    )
    model = causal.causal_lm(path=str(base), adapter=adapter).eval()
    _write(model, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    ours, theirs = (safetensors.load_file(tmp_path / who / "adapter_model.safetensors") for who in ("ours", "theirs"))
    assert _same(ours, theirs)
    assert all(name.startswith("base_model.model.model.layers.") for name in ours)
    settings, expected = (
        json.loads((tmp_path / who / "adapter_config.json").read_text()) for who in ("ours", "theirs")
    )
    assert settings.pop("target_modules") == sorted(expected.pop("target_modules"))
    assert settings == expected
    # What vLLM asks of an adapter.
    assert settings["peft_type"] == "LORA"
    assert (settings["r"], settings["base_model_name_or_path"]) == (4, str(base))
    assert not os.path.exists(tmp_path / "ours" / "config.json")
    again = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base), tmp_path / "ours"
    ).eval()
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("family", "saved"), [("llama", ["embed_tokens", "lm_head"]), ("llama-tied", ["embed_tokens"])]
)
@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PeftModel.from_pretrained is peft's own
def test_new_embeddings_go_with_the_adapter_and_tied_ones_once(family: str, saved: list[str], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    causal.causal_lm(tiny_config(family)).save_pretrained(tmp_path)
    adapter = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    model = causal.causal_lm(path=str(tmp_path), adapter=adapter, resize_to=100).eval()
    folder = _write(model, tmp_path / "adapter")
    tensors = safetensors.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    whole = {name.split(".")[-2]: tuple(tensor.shape) for name, tensor in tensors.items() if "lora" not in name}
    assert whole == dict.fromkeys(saved, (100, 32))
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    base.resize_token_embeddings(100)
    again = peft.PeftModel.from_pretrained(base, folder).eval()
    ids = torch.tensor([[3, 97, 99]])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


PROGRAM = """
import sys
sys.modules["forge"] = None
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=sys.argv[2] == "trusted")
print(type(model).__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LlamaForCausalLM", "DecoderForCausalLM"])
def test_an_assembled_decoder_is_saved_for_those_who_have_no_forge(tmp_path: Path, kind: str) -> None:
    decoder = pytest.importorskip("forge.ml.models.decoder")
    layer = decoder.PreNorm(
        attention=decoder.GroupedQueryAttention(num_heads=4, num_key_value_heads=2),
        feed_forward=decoder.GatedFeedForward(intermediate_size=48),
        norm=decoder.RMSNorm(),
    )
    config = decoder.DecoderConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        max_position_embeddings=32,
        layers=[layer],
        position=decoder.Rotary() if kind == "LlamaForCausalLM" else decoder.Alibi(),
        norm=decoder.RMSNorm(),
    )
    folder = _write(causal.causal_lm(config), tmp_path)
    trust = "trusted" if kind.startswith("Decoder") else "no"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, trust],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.stdout.strip().endswith(kind), done.stderr
    assert _same(causal.causal_lm(config, path=folder).state_dict(), causal.causal_lm(config).state_dict())
