from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import CheckpointError
from forge.base.new_file import NewFile
from forge.ml.checkpoint.manifest import Entry
from forge.ml.checkpoint.tensors import Raw, as_tensor, map_tensors, raw_of, read_tensors, total_bytes, write_tensors

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [
    "bool",
    "uint8",
    "int8",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e8m0fnu",
    "int16",
    "uint16",
    "float16",
    "bfloat16",
    "int32",
    "uint32",
    "float32",
    "int64",
    "uint64",
    "float64",
    "complex64",
]


def written(path: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> Entry:
    with NewFile(path) as file:
        write_tensors(file, tensors, metadata or {})
    return Entry(file.size, file.sha256)


def crafted(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_what_is_written_is_read_back_without_torch(tmp_path: Path) -> None:
    tensors = {
        "b": Raw("U8", (3,), b"abc"),
        "a": Raw("F64", (2, 1), b"0123456789abcdef"),
        "none": Raw("F32", (0, 7), b""),
    }
    entry = written(tmp_path / "x", tensors, {"format": "pt"})
    assert entry.sha256 == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
    assert entry.size == (tmp_path / "x").stat().st_size
    found = read_tensors(tmp_path / "x", entry)
    assert {name: raw._replace(data=bytes(raw.data)) for name, raw in found.items()} == tensors
    assert total_bytes(tensors) == 19


def test_this_module_and_the_store_load_no_torch() -> None:
    program = (
        "import sys, forge.ml.checkpoint.__main__, forge.ml.checkpoint.tensors\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'numpy', 'safetensors')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_bytes_that_do_not_fill_the_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the tensor a has 3 bytes in place of 8"):
        written(tmp_path / "x", {"a": Raw("F64", (1,), b"abc")})
    assert not (tmp_path / "x").exists()


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
def test_each_type_is_bit_equal_for_us_and_for_the_safetensors_library(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    dtype = getattr(torch, kind)
    width = torch.empty(0, dtype=dtype).element_size()
    noise = torch.frombuffer(bytearray(os.urandom(60 * width)), dtype=torch.uint8)
    noise = noise % 2 if kind == "bool" else noise
    tensors = {
        "matrix": noise.view(dtype).reshape(3, 4, 5),
        "turned": noise.view(dtype).reshape(12, 5).t(),
        "number": noise.view(dtype)[0],
        "nothing": noise.view(dtype)[:0].reshape(0, 2),
    }
    entry = written(tmp_path / "x", tensors, {"format": "pt"})
    ours = {name: as_tensor(raw) for name, raw in read_tensors(tmp_path / "x", entry).items()}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, tmp_path / "theirs")
    others = [load_file(tmp_path / "x"), {n: as_tensor(raw) for n, raw in read_tensors(tmp_path / "theirs").items()}]
    for found in (ours, *others):
        assert sorted(found) == sorted(tensors)
        for name, tensor in tensors.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert bytes(raw_of(found[name]).data) == bytes(raw_of(tensor).data)


@pytest.mark.torch
def test_the_bytes_of_a_tensor_are_a_view_and_what_is_read_may_be_changed(tmp_path: Path) -> None:
    import torch

    tensor = torch.zeros(4)
    raw = raw_of(tensor.requires_grad_())
    with torch.no_grad():
        tensor[0] = 1.0
    assert bytes(raw.data[:4]) == b"\x00\x00\x80\x3f"
    written(tmp_path / "x", {"w": tensor})
    found = as_tensor(read_tensors(tmp_path / "x")["w"])
    (tmp_path / "x").write_bytes(b"")  # what was checked is what is used, whatever happens to the file
    found += 1
    assert found.tolist() == [2.0, 1.0, 1.0, 1.0]


@pytest.mark.torch
def test_what_safetensors_has_no_name_for_is_refused(tmp_path: Path) -> None:
    import torch

    for tensor in (torch.zeros(2, dtype=torch.complex128), torch.eye(2).to_sparse()):
        with pytest.raises(CheckpointError, match=r"the tensor odd .* cannot be saved"):
            written(tmp_path / "x", {"odd": tensor})


def test_a_file_of_several_portions_is_hashed_as_it_is_written_and_read(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 20 + b"end"
    tensors = {"large": Raw("U8", (len(data),), data), **{f"n{i}": Raw("U8", (1,), b"x") for i in range(2000)}}
    entry = written(tmp_path / "x", tensors)
    assert entry.sha256 == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
    assert bytes(read_tensors(tmp_path / "x", entry)["large"].data) == data


def test_another_size_or_hash_is_found_before_the_header_is_believed(tmp_path: Path) -> None:
    entry = written(tmp_path / "x", {"a": Raw("U8", (3,), b"abc")})
    with pytest.raises(CheckpointError, match="bytes in place of"):
        read_tensors(tmp_path / "x", Entry(entry.size + 1, entry.sha256))
    with pytest.raises(CheckpointError, match="its hash differs"):
        read_tensors(tmp_path / "x", Entry(entry.size, "0" * 64))
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        read_tensors(tmp_path / "y")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "pipe")


ONE = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        pytest.param({"a": ONE}, b"1234", 1 << 40, id="a header longer than the file"),
        pytest.param({"a": ONE}, b"1234", 99_999_999, id="a header of nearly 100 MB"),
        pytest.param({"a": {**ONE, "data_offsets": [0, 8]}}, b"12345678", None, id="more bytes than the shape"),
        pytest.param({"a": {**ONE, "data_offsets": [0, 2]}}, b"12", None, id="fewer bytes than the shape"),
        pytest.param({"a": {**ONE, "dtype": "U7"}}, b"1234", None, id="a type that there is not"),
        pytest.param({"a": {**ONE, "shape": [-4]}}, b"1234", None, id="a negative shape"),
        pytest.param({"a": {**ONE, "shape": [-2, -2]}}, b"1234", None, id="two of them"),
        pytest.param({"a": {**ONE, "shape": [4.0]}}, b"1234", None, id="a shape that is no integer"),
        pytest.param({"a": {**ONE, "data_offsets": [-4, 0]}}, b"1234", None, id="a negative offset"),
        pytest.param({"a": {**ONE, "data_offsets": [4, 8]}}, b"12345678", None, id="a hole"),
        pytest.param({"a": ONE, "b": ONE}, b"1234", None, id="one over the other"),
        pytest.param({"a": ONE}, b"12345", None, id="bytes at the end"),
        pytest.param({"a": ONE}, b"123", None, id="too few bytes"),
        pytest.param({"a": {**ONE, "data_offsets": [0]}}, b"1234", None, id="half an offset"),
        pytest.param({"a": {"dtype": "U8"}}, b"1234", None, id="nothing but a type"),
        pytest.param({"a": 1}, b"1234", None, id="a number for a tensor"),
        pytest.param([], b"", None, id="a list"),
        pytest.param(b"{", b"", None, id="no JSON"),
        pytest.param(b"\xff\xff", b"", None, id="no text"),
        pytest.param(b"[" * 50_000, b"", None, id="brackets"),
        pytest.param(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}',
            b"1234",
            None,
            id="a name twice",
        ),
    ],
)
def test_a_header_that_says_what_is_not_so_is_refused(
    tmp_path: Path, header: object, data: bytes, length: int | None
) -> None:
    with pytest.raises(CheckpointError, match="is not a right safetensors file"):
        read_tensors(crafted(tmp_path / "x", header, data, length))


def test_a_file_of_a_few_bytes_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\0", b"\0" * 8):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a right safetensors file"):
            read_tensors(tmp_path / "x")


def test_a_mapped_file_has_the_same_tensors_and_is_not_changed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.safetensors"
    with NewFile(path) as file:
        write_tensors(file, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)}, {})
    before = path.read_bytes()
    mapped = {name: as_tensor(raw) for name, raw in map_tensors(path).items()}
    assert mapped["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert mapped["b"].numel() == 0
    mapped["a"].zero_()
    assert path.read_bytes() == before
    path.write_bytes(before[:-4])
    with pytest.raises(CheckpointError, match="not a right safetensors file"):
        map_tensors(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        map_tensors(tmp_path / "none")
