from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ModelError
from forge.ml.checkpoint.store import Store
from forge.ml.serve.sources import ServedSource, checkpoints_of, find_source

if TYPE_CHECKING:
    from pathlib import Path


def _said(_text: str) -> None:
    return


def _commit(folder: Path, step: int) -> str:
    store = Store(folder / "checkpoints")
    stage = store.begin(step)
    stage.write_json("config.json", {"step": step})
    path = stage.commit({})
    store.release()
    return path


def test_a_folder_is_served_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path)
    assert find_source(path, say=_said) == ServedSource(path, path, None, tmp_path.name)
    assert find_source(path, adapter="a", say=_said).adapter == "a"


def test_the_newest_checkpoint_that_is_whole_is_served(tmp_path: Path) -> None:
    first = _commit(tmp_path, 10)
    second = _commit(tmp_path, 20)
    found = find_source(str(tmp_path), checkpoint=True, say=_said)
    assert (os.path.realpath(found.weights), found.checkpoint, found.name) == (
        os.path.realpath(second),
        "checkpoint-20",
        tmp_path.name,
    )
    with open(f"{second}/config.json", "w", encoding="utf-8") as file:
        file.write('{"step": 99}')
    skipped: list[str] = []
    assert find_source(str(tmp_path / "checkpoints"), checkpoint=True, say=skipped.append).weights == first
    assert "checkpoint-20 is skipped" in skipped[0]
    assert checkpoints_of(str(tmp_path)).folder == str(tmp_path / "checkpoints")


def test_without_checkpoints_there_is_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoints"):
        find_source(str(tmp_path), checkpoint=True, say=_said)


def test_an_adapter_finds_its_model(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert find_source(str(adapter), say=_said) == ServedSource(str(base), str(base), str(adapter), "adapter")
    (adapter / "tokenizer.json").touch()
    assert find_source(str(adapter), say=_said).texts == str(adapter)
    with pytest.raises(ModelError, match="an adapter already"):
        find_source(str(adapter), adapter="b", say=_said)
    for broken in ("[]", "{", '{"base_model_name_or_path": "nosuch/model"}'):
        (adapter / "adapter_config.json").write_text(broken)
        with pytest.raises(ModelError, match="name both"):
            find_source(str(adapter), say=_said)
