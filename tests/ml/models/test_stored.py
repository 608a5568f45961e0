"""The files of a model folder: found, read one tensor at a time, and refused when they are not what they say."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

import hostile_files as files
import pytest

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
stored = pytest.importorskip("forge.ml.models.stored")
safetensors = pytest.importorskip("safetensors.torch")

MODEL = "model.safetensors"
INDEX = "model.safetensors.index.json"


def _safetensors(header: Any, data: bytes = bytes(64), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(begin: int = 0, end: int = 64, shape: tuple[int, ...] = (16,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


TWICE = b'{"a":' + json.dumps(_entry()).encode() + b',"a":' + json.dumps(_entry()).encode() + b"}"
LIES = {
    "nothing": b"",
    "noise": os.urandom(999),
    "a header of 100 MB": _safetensors({"a": _entry()}, length=100 << 20),
    "a header of exabytes": _safetensors({"a": _entry()}, length=1 << 62),
    "a header longer than the file": _safetensors({"a": _entry()}, length=1 << 12),
    "a header that is no JSON": _safetensors(b"{" * 50),
    "a deep header": _safetensors(b"[" * 100_000),
    "a header that is a list": _safetensors([1]),
    "an overlap": _safetensors({"a": _entry(), "b": _entry(32, 96)}, bytes(96)),
    "a hole": _safetensors({"a": _entry(), "b": _entry(128, 192)}, bytes(192)),
    "a rest that is nobody's": _safetensors({"a": _entry()}, bytes(100)),
    "too few bytes": _safetensors({"a": _entry()}, bytes(60)),
    "an end before the beginning": _safetensors({"a": _entry(64, 0)}),
    "a negative place": _safetensors({"a": _entry(-64, 0)}),
    "a shape that does not fit": _safetensors({"a": _entry(shape=(17,))}),
    "a shape beyond all numbers": _safetensors({"a": _entry(shape=(1 << 40, 1 << 40))}),
    "a negative shape": _safetensors({"a": _entry(shape=(-16,))}),
    "a type that does not fit": _safetensors({"a": _entry(dtype="F64")}),
    "a type that there is not": _safetensors({"a": _entry(dtype="F33")}),
    "the same name twice": _safetensors(TWICE),
}


def _all(folder: Path) -> dict[str, Any]:
    with stored.open_weights(str(folder)) as weights:
        return {name: one.read() for part in weights.parts for name, one in part.items()}


@pytest.mark.parametrize("name", LIES)
def test_a_safetensors_file_that_lies_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes(LIES[name])
    with pytest.raises(ModelError, match=r"is damaged") as caught:
        _all(tmp_path)
    assert str(tmp_path / MODEL) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_an_honest_file_is_read_with_shapes_and_types(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).bfloat16(),
        "c": torch.arange(4),
        "d": torch.tensor([True, False]),
        "e": torch.randn(2, 2).to(torch.float8_e4m3fn),
        "f": torch.zeros(0, 3),
        "g": torch.tensor(2.0),
    }
    safetensors.save_file(tensors, tmp_path / MODEL)
    with stored.open_weights(str(tmp_path)) as weights:
        (part,) = weights.parts
        assert {name: (one.shape, one.dtype) for name, one in part.items()} == {
            name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()
        }
        for name, tensor in tensors.items():
            assert torch.equal(part[name].read().view(torch.uint8), tensor.view(torch.uint8)) if tensor.ndim else True


def test_what_torch_saved_is_read_bit_for_bit(tmp_path: Path) -> None:
    base = torch.randn(6, 8)
    tensors = {
        "whole": base,
        "tied": base,
        "turned": base.t(),
        "window": base[1:3, 2:5],
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "bf16": torch.randn(7).bfloat16(),
        "numbers": torch.arange(9, dtype=torch.int16),
        "number": torch.tensor(3.5),
        "empty": torch.empty(0, 2),
        "truth": torch.tensor([True, False]),
    }
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    found = _all(tmp_path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert found[name].is_contiguous()


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    torch.save({"a": torch.randn(9999)}, tmp_path / "pytorch_model.bin")
    with stored.open_weights(str(tmp_path)) as weights:
        os.truncate(tmp_path / "pytorch_model.bin", 2000)
        with pytest.raises(ModelError, match=r"cannot read a from .*shorter"):
            weights.parts[0]["a"].read()


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    safetensors.save_file({"b": torch.zeros(2)}, tmp_path / "two.safetensors")
    _index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    assert set(_all(tmp_path)) == {"a", "b"}


def _index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../one.safetensors"}, r"is not in the folder\n.*get it again"),
        ({"a": "/etc/passwd"}, "is not in the folder"),
        ({"a": "three.safetensors"}, "is not in the folder"),
        ({"a": 3}, "is not in the folder"),
        ({"a": "one.safetensors", "c": "one.safetensors"}, "names c, which is not in one.safetensors"),
        ({"a": "one.safetensors", "b": "two.safetensors"}, "the tensor a is in two files"),
        ({}, "names no tensor"),
        ([], "names no tensor"),
    ],
)
def test_an_index_that_lies_is_refused(weight_map: Any, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (folder / "one.safetensors", folder / "two.safetensors", tmp_path / "one.safetensors"):
        safetensors.save_file({"a": torch.ones(2)} | ({"b": torch.ones(1)} if "two" in path.name else {}), path)
    _index(folder, weight_map)
    with pytest.raises(ModelError, match=message):
        _all(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000])
def test_an_index_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(ModelError, match=r"is no index of weights"):
        _all(tmp_path)


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / MODEL)
    (tmp_path / "pytorch_model.bin").write_bytes(files.torch_file(b"cos\nsystem\n."))
    assert set(_all(tmp_path)) == {"a"}


def test_a_folder_without_weights_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no weights") as caught:
        _all(tmp_path)
    assert "model.safetensors.index.json" in str(caught.value)


@pytest.mark.parametrize(
    "places",
    [
        ([2, 3], [0, 1, 2, 3, 4], [0, 1, 2]),
        ([0, 1, 2, 3], [1, 2], [0, 1, 2]),
        ([1, 3], [0, 4], [2]),
        ([0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 2]),
        ([], [0, 1, 2, 3, 4], [0, 1, 2]),
    ],
)
def test_of_a_part_no_other_byte_is_read(
    places: tuple[list[int], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.arange(60.0).reshape(4, 5, 3)
    safetensors.save_file({"first": torch.ones(3), "a": whole}, tmp_path / MODEL)
    read = []
    preadv = os.preadv
    with stored.open_weights(str(tmp_path)) as weights:
        monkeypatch.setattr(os, "preadv", lambda *args: read.append(preadv(*args)) or read[-1])
        found = weights.parts[0]["a"].part([torch.tensor(own, dtype=torch.int64) for own in places])
    wanted = whole[places[0]][:, places[1]][:, :, places[2]]
    assert torch.equal(found, wanted)
    assert sum(read) == wanted.nbytes


def test_what_lies_turned_in_its_file_is_read_whole(tmp_path: Path) -> None:
    torch.save({"turned": torch.randn(6, 8).t()}, tmp_path / "pytorch_model.bin")
    with stored.open_weights(str(tmp_path)) as weights:
        assert weights.parts[0]["turned"].part is None


def test_a_tensor_comes_in_portions_of_whole_rows(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(60.0).reshape(10, 6), "one": torch.tensor(3.0), "row": torch.arange(100.0)[None]}
    safetensors.save_file(tensors, tmp_path / MODEL)
    with stored.open_weights(str(tmp_path)) as weights:
        for name, most, shapes in (
            *(("a", 72, [(3, 6)] * 3 + [(1, 6)]), ("a", 5, [(1, 6)] * 10), ("a", 1000, [(10, 6)])),
            *(("one", 1, [()]), ("row", 8, [(1, 100)])),
        ):
            found = list(weights.parts[0][name].portions(most))
            assert [tuple(one.shape) for one in found] == shapes
            assert torch.equal(torch.cat(found) if shapes[0] else found[0], tensors[name])
        halves = weights.parts[0]["a"].made(lambda tensor: (tensor / 2).half(), torch.float16)
        assert torch.equal(torch.cat(list(halves.portions(60))), (tensors["a"] / 2).half())
        assert torch.equal(halves.read(), (tensors["a"] / 2).half())
        whole = weights.parts[0]["a"].read_by(lambda: torch.ones(2, 2), shape=(2, 2))
        assert [one.tolist() for one in whole.portions(1)] == [[[1, 1], [1, 1]]]
