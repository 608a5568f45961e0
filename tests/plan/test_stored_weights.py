"""The parameters in a model's folder, counted without reading them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.stored_weights import stored_parameters

if TYPE_CHECKING:
    from pathlib import Path


def _write(path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def _tensor(*shape: int, dtype: str = "BF16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 0]}


def test_one_file_is_counted(tmp_path: Path) -> None:
    _write(tmp_path / "model.safetensors", {"__metadata__": {"format": "pt"}, "a": _tensor(3, 5), "b": _tensor(7)})
    _write(tmp_path / "consolidated.safetensors", {"a": _tensor(3, 5)})
    assert stored_parameters(str(tmp_path)) == 22


def test_all_files_of_an_index_are(tmp_path: Path) -> None:
    for number in (1, 2):
        _write(tmp_path / f"part-{number}.safetensors", {f"w{number}": _tensor(10, number)})
    weights = {"w1": "part-1.safetensors", "w2": "../x/part-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert stored_parameters(str(tmp_path)) == 30


@pytest.mark.parametrize(
    "header",
    [[], {"a": 3}, {"a": {}}, {"a": _tensor(4, dtype="U8")}, {"a": {"dtype": "F32", "shape": "x"}}, "x", {}],
)
def test_what_cannot_be_counted_is_not(tmp_path: Path, header: object) -> None:
    _write(tmp_path / "model.safetensors", header)
    assert stored_parameters(str(tmp_path)) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x05" + b"\0" * 7 + b"{]", b"\x01" + b"\0" * 7 + b"\xff"])
def test_nor_is_what_is_no_such_file(tmp_path: Path, content: bytes) -> None:
    assert stored_parameters(str(tmp_path)) is None
    (tmp_path / "model.safetensors").write_bytes(content)
    assert stored_parameters(str(tmp_path)) is None
    (tmp_path / "model.safetensors.index.json").write_text("[")
    assert stored_parameters(str(tmp_path)) is None
