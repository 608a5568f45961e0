from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
source = pytest.importorskip("forge.ml.convert.source")


def test_a_folder_is_opened_without_reading_a_weight(model_folder: Callable[..., Path]) -> None:
    folder = model_folder("qwen3")
    with source.open_source(str(folder)) as found:
        assert (found.kind, found.config.model_type, found.plain["model_type"]) == ("hf", "qwen3", "qwen3")
        model = source.empty_model(found.config)
        assert all(weight.is_meta for weight in model.parameters())
        assert source.embedding_names(model, found.tensors) == ["lm_head.weight", "model.embed_tokens.weight"]


def test_weights_that_do_not_fit_are_named_before_any_is_read(model_folder: Callable[..., Path]) -> None:
    with source.open_source(str(model_folder())) as found:
        model = source.empty_model(found.config)
        unreadable = {name: replace(one, read=lambda: 1 / 0) for name, one in found.tensors.items()}
        source.check_fit(model, unreadable, "F")
        some = {name: one for name, one in unreadable.items() if "norm" not in name}
        with pytest.raises(ModelError, match="5 weights of the model are not in its files"):
            source.check_fit(model, some, "F")


def test_the_oldest_names_have_embeddings_too(model_folder: Callable[..., Path]) -> None:
    with source.open_source(str(model_folder("gpt2"))) as found:
        model = source.empty_model(found.config)
        old = {name.removeprefix("transformer."): one for name, one in found.tensors.items()}
        assert source.embedding_names(model, old) == ["wte.weight"]


def test_what_is_no_model_is_refused(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"), source.open_source(str(tmp_path / "none")):
        pass
    folder = model_folder()
    config: dict[str, Any] = source.plain_config(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ModelError, match="are quantised"), source.open_source(str(folder)):
        pass
    (folder / "config.json").write_text("[]")
    with pytest.raises(FileError, match=r"config\.json: this is not a JSON object, but a list"):
        source.plain_config(str(folder))
    torch.save({"a": torch.zeros(1)}, folder / "consolidated.00.pth")
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"neither config\.json nor params\.json"), source.open_source(str(folder)):
        pass


@pytest.mark.parametrize("wrong", [{"hidden_size": -64}, {"vocab_size": -5}, {"hidden_act": "nope"}])
def test_a_config_that_makes_no_model_is_refused(model_folder: Callable[..., Path], wrong: dict[str, Any]) -> None:
    folder = model_folder()
    config: dict[str, Any] = source.plain_config(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, **wrong}))
    with pytest.raises(ModelError, match=r"LlamaConfig: .*(negative dimension|nope)"), source.open_source(str(folder)):
        pass


def test_a_missing_part_is_hinted_at(
    model_folder: Callable[..., Path], as_meta: Callable[..., Path], tmp_path: Path
) -> None:
    meta = as_meta(model_folder(), tmp_path / "meta", 2)
    (meta / "consolidated.01.pth").unlink()
    with (
        pytest.raises(ModelError, match=r"there is 1 consolidated\*\.pth: is one missing"),
        source.open_source(str(meta)),
    ):
        pass
