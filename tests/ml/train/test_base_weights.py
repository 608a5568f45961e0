"""An adapter goes on upon the weights that it was trained on, or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ResumeError
from forge.ml.train.base_weights import base_weights, check_base_weights

if TYPE_CHECKING:
    from pathlib import Path

LARGE = 5 << 20


def write(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def test_a_model_from_scratch_has_none() -> None:
    assert base_weights(None) == {}


def test_the_same_weights_elsewhere_are_the_same(tmp_path: Path) -> None:
    content = os.urandom(1000)
    for folder in ("a", "b"):
        for name in ("model-1.safetensors", "model-2.safetensors", "pytorch_model.bin", "adapter_model.safetensors"):
            write(tmp_path / folder, name, content)
    (tmp_path / "b" / "adapter_model.safetensors").unlink()
    found = base_weights(str(tmp_path / "a"))
    assert list(found) == ["model-1.safetensors", "model-2.safetensors"]
    check_base_weights(found, base_weights(str(tmp_path / "b")), "b")


@pytest.mark.parametrize("size", [1, 1000, LARGE])
def test_weights_that_were_trained_on_are_others(tmp_path: Path, size: int) -> None:
    write(tmp_path / "a", "model.safetensors", bytes(size))
    saved = base_weights(str(tmp_path / "a"))
    for content in (b"\1" * size, bytes(size + 1)):
        write(tmp_path / "a", "model.safetensors", content)
        with pytest.raises(ResumeError, match=r"changed: model\.safetensors"):
            check_base_weights(saved, base_weights(str(tmp_path / "a")), str(tmp_path / "a"))


@pytest.mark.parametrize("at", [0, LARGE - 1])
def test_both_ends_of_a_large_file_are_looked_at(tmp_path: Path, at: int) -> None:
    content = bytearray(LARGE)
    write(tmp_path / "a", "model.safetensors", content)
    saved = base_weights(str(tmp_path / "a"))
    content[at] = 1
    write(tmp_path / "a", "model.safetensors", content)
    assert base_weights(str(tmp_path / "a")) != saved


def test_many_files_that_are_gone_are_named_in_one_line() -> None:
    saved = {f"model-{number}.safetensors": "x" for number in range(5)}
    with pytest.raises(ResumeError) as caught:
        check_base_weights(saved, {}, "base")
    first = "the weights in base are not those that the adapter was trained on; changed: model-0.safetensors"
    assert caught.value.what == f"{first}, model-1.safetensors, model-2.safetensors, ..."
    assert "--output-dir" in str(caught.value.hint)
