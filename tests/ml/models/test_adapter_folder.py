"""A folder with an adapter, given where a model is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
adapter_folder = pytest.importorskip("forge.ml.models.adapter_folder")
causal = pytest.importorskip("forge.ml.models.causal")
stored = pytest.importorskip("forge.ml.models.stored")
tokenizer = pytest.importorskip("forge.ml.data.tokenizer")


def _write(folder: Path, **settings: Any) -> str:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **settings}))
    (folder / "adapter_model.safetensors").touch()
    return str(folder)


def _opened(folder: str) -> None:
    with stored.open_weights(folder):
        pass


@pytest.mark.parametrize("use", [lambda path: causal.causal_lm(path=path), tokenizer.pretrained, _opened])
def test_it_is_said_what_it_belongs_on_and_how_to_write_it(tmp_path: Path, use: Any) -> None:
    folder = _write(tmp_path, base_model_name_or_path="models/base")
    with pytest.raises(ModelError, match="holds an adapter for models/base, and no model") as caught:
        use(folder)
    assert f"forge eval -M models/base --checkpoint {folder}" in str(caught.value)
    assert f"forge train -M models/base --resume-from-checkpoint {folder}" in str(caught.value)


@pytest.mark.parametrize("base", [None, "", 7])
def test_an_adapter_that_does_not_name_its_model(tmp_path: Path, base: Any) -> None:
    with pytest.raises(ModelError, match="holds an adapter, and no model") as caught:
        adapter_folder.refuse_adapter(_write(tmp_path, base_model_name_or_path=base))
    assert "-M MODEL_FOLDER" in str(caught.value)


def test_a_damaged_config_is_that_of_an_adapter_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("[")
    with pytest.raises(ModelError, match="holds an adapter, and no model"):
        adapter_folder.refuse_adapter(str(tmp_path))


def test_a_model_beside_an_adapter_is_a_model(tmp_path: Path) -> None:
    folder = _write(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not adapter_folder.holds_adapter(folder)
    adapter_folder.refuse_adapter(folder)
