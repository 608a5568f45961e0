from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from forge.doctor import model_folder
from forge.doctor.model_folder import model_rows

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(bytes(3_000_000))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(bytes(1_000_000))
    named = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": named}))
    return tmp_path


def test_a_whole_folder(folder: Path) -> None:
    whole, reading = model_rows(str(folder))
    assert (whole.verdict, whole.found) == ("good", "2 files of weights, 4.0 MB")
    assert reading.verdict == "good"


def test_a_shard_that_is_missing(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()
    (row,) = model_rows(str(folder))
    assert (row.verdict, row.found) == ("bad", f"{INDEX} names model-00002-of-00002.safetensors, which is not there")
    assert f"remove {INDEX}" in row.remedy


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": 7}'])
def test_an_index_that_cannot_be_read(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    (row,) = model_rows(str(folder))
    assert (row.verdict, "nothing that can be read" in row.found) == ("bad", True)


def test_what_is_no_model(tmp_path: Path) -> None:
    assert "has no config.json" in model_rows(str(tmp_path))[0].found
    (tmp_path / "config.json").write_text("{}")
    assert "has no weights" in model_rows(str(tmp_path))[0].found


def test_a_disk_that_takes_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "_speed", lambda _: 40_000.0)
    row = model_rows(str(folder))[1]
    assert (row.verdict, row.found) == ("warning", "40.0 kB/s, 100 s for all of it")
