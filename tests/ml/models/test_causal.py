"""Models from scratch, from a folder, and with an adapter."""

from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict
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


@pytest.mark.parametrize("named", ["bfloat16", "torch.bfloat16"])
def test_a_dtype_may_be_its_name(named: str) -> None:
    assert causal.causal_lm(_config(), dtype=named).dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", ["bf16", "int8", "Tensor", "", torch.int64])
def test_what_is_no_type_of_weights_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="dtype is the type of the weights, such as bfloat16 or float32, not "):
        causal.causal_lm(_config(), dtype=wrong)


def test_dtype_and_attention_are_the_asked_ones() -> None:
    model = causal.causal_lm(_config(), dtype=torch.bfloat16, attn_implementation="eager")
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == model.requested_attention == "eager"


def test_attention_that_an_architecture_lacks_is_refused_and_auto_takes_one_that_it_has() -> None:
    with pytest.raises(ModelError, match="Gemma2Config: Gemma2ForCausalLM does not support") as caught:
        causal.causal_lm(tiny_config("gemma2"), attn_implementation="sdpa")
    assert "attn_implementation=auto" in str(caught.value)
    assert len(str(caught.value)) < 300
    found = {kind: causal.causal_lm(tiny_config(kind), attn_implementation="auto") for kind in ("gemma2", "llama")}
    assert {model.requested_attention for model in found.values()} == {"auto"}
    assert {kind: model.config._attn_implementation for kind, model in found.items()} == {
        "gemma2": "eager",
        "llama": "sdpa",
    }


def test_a_saved_model_is_read_back_from_its_folder(tmp_path: Path) -> None:
    model = causal.causal_lm(_config())
    model.save_pretrained(tmp_path)
    assert _same(model, causal.causal_lm(path=str(tmp_path)))
    assert _same(model, causal.causal_lm(_config(), path=str(tmp_path)))


def test_reading_a_folder_unpickles_nothing(tmp_path: Path) -> None:
    seen: list[str] = []
    watching = [True]

    def watch(event: str, _: Any) -> None:
        if watching[0] and event == "pickle.find_class":
            seen.append(event)

    sys.addaudithook(watch)  # it cannot be taken away again, so it is told to stop
    model = causal.causal_lm(_config())
    model.save_pretrained(tmp_path)
    try:
        causal.causal_lm(path=str(tmp_path))
        os.remove(tmp_path / "model.safetensors")
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        assert _same(model, causal.causal_lm(path=str(tmp_path)))
        assert seen == []
        pickle.loads(pickle.dumps(OrderedDict(a=1)))  # noqa: S301 - to show that the hook sees it
        assert seen == ["pickle.find_class"]
    finally:
        watching[0] = False


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "gemma2", "mixtral", "qwen3"])
def test_new_weights_are_those_of_transformers_also_when_deferred(family: str) -> None:
    torch.manual_seed(5)
    theirs = transformers.AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.bfloat16)
    settings = {"dtype": torch.bfloat16, "seed": 5, "attn_implementation": "auto"}
    at_once = causal.causal_lm(tiny_config(family), **settings)
    with causal.deferred_weights():
        later = causal.causal_lm(tiny_config(family), **settings)
    assert {tensor.device.type for tensor in later.state_dict().values()} == {"meta"}
    later = causal.materialise(later, "cpu")
    for ours in (at_once, later):
        assert ours.training is theirs.training
        for kind in ("named_parameters", "named_buffers"):
            expected, found = dict(getattr(theirs, kind)()), dict(getattr(ours, kind)())
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    ids = torch.randint(3, 90, (1, 8))
    with torch.no_grad():
        assert torch.equal(later.eval()(ids).logits, theirs.eval()(ids).logits)


def test_a_deferred_folder_is_read_when_it_is_materialised(tmp_path: Path) -> None:
    model = causal.causal_lm(_config())
    model.save_pretrained(tmp_path)
    with causal.deferred_weights():
        later = causal.causal_lm(path=str(tmp_path))
    assert next(later.parameters()).is_meta
    held = later
    assert causal.materialise(later) is held
    assert _same(model, later)
    with pytest.raises(ValueError, match="has its weights already"):
        causal.materialise(later)


def test_deferring_ends_with_its_block() -> None:
    with pytest.raises(RuntimeError, match="stop"), causal.deferred_weights():
        raise RuntimeError("stop")
    assert not next(causal.causal_lm(_config()).parameters()).is_meta


def test_the_config_of_the_caller_is_left_as_it_was() -> None:
    config = _config()
    before = config.to_dict()
    causal.causal_lm(config, dtype=torch.bfloat16, attn_implementation="eager")
    assert config.to_dict() == before


def test_an_adapter_leaves_few_parameters_to_train() -> None:
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    with causal.deferred_weights():
        model = causal.causal_lm(_config(), adapter=adapter)
    assert not hasattr(model, "peft_config")
    model = causal.materialise(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_a_model_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ModelError, match="there is no model folder nowhere"):
        causal.causal_lm(path="nowhere")
    with pytest.raises(ValueError, match="needs a config"):
        causal.causal_lm()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no config.json"),
        ("{", "config.json cannot be used"),
        ("[]", "config.json cannot be used"),
        ("{}", "config.json cannot be used"),
        ('{"model_type": "nothing known"}', "config.json cannot be used"),
        ('{"model_type": "x", "auto_map": {"AutoConfig": "code.X"}}', "config.json cannot be used"),
        ('{"model_type": "vit"}', "ViTConfig: "),
        ('{"model_type": "llama", "num_attention_heads": "many"}', "config.json cannot be used"),
        (
            '{"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}',
            r"are quantised \(gptq\), and such weights cannot be trained",
        ),
    ],
)
def test_a_folder_that_is_no_model_says_why(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
        (tmp_path / "code.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match=message) as caught:
        causal.causal_lm(path=str(tmp_path))
    assert str(caught.value).count("\n") <= 2
