"""Tensors to safetensors files and back: straight from memory, with the hash of what is written and of what is read.

Reading fills memory of its own and gives nothing out before the hash is right, so that the bytes that were checked are the
bytes that are used. Nothing here imports torch before it is given a tensor of torch.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import CheckpointError
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from forge.base.new_file import NewFile
    from forge.ml.checkpoint.manifest import Entry

__all__ = [
    "InFile",
    "Portions",
    "Raw",
    "as_tensor",
    "map_tensors",
    "raw_of",
    "read_tensors",
    "total_bytes",
    "write_tensors",
]

_WIDTHS: Final = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
    "C64": 8,
}
_TORCH_NAMES: Final = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "I64": "int64",
    "U64": "uint64",
    "F64": "float64",
    "C64": "complex64",
}
_SAVED_AS: Final = {name: kind for kind, name in _TORCH_NAMES.items()}
_LONGEST_HEADER: Final = 100_000_000  # as the safetensors library has it
_ALIGNMENT: Final = 8
_PORTION: Final = 8 << 20


class Raw(NamedTuple):
    """A tensor as its file has it: the name of its type there, its shape, and its bytes."""

    kind: str
    shape: tuple[int, ...]
    data: bytes | memoryview


class InFile(NamedTuple):
    """A tensor's bytes where they are in another file, which is open: they are copied and not read."""

    handle: int
    start: int
    size: int


class Portions(NamedTuple):
    """A tensor's bytes as tensors, one after another, each of which is made when the one before it is written."""

    portions: Iterator[torch.Tensor]


def write_tensors(
    file: NewFile, tensors: Mapping[str, torch.Tensor | Raw | InFile | Portions], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file: its header, then each tensor's bytes from where they are."""
    layout = {name: _layout(name, tensor) for name, tensor in tensors.items()}
    # The widest come first, so that each begins at a multiple of its width.
    order = sorted(layout, key=lambda name: (-_WIDTHS[layout[name][0]], name))
    file.write(_header(layout, order, metadata))
    for name in order:
        size = _write(file, tensors[name])
        if size != _size(*layout[name]):
            raise CheckpointError(f"the tensor {name} has {size:,} bytes in place of {_size(*layout[name]):,}")


def _write(file: NewFile, tensor: torch.Tensor | Raw | InFile | Portions) -> int:
    """Write the bytes of a tensor, and return how many they were."""
    if isinstance(tensor, InFile):
        file.copy(*tensor)
        return tensor.size
    size = 0
    for portion in tensor.portions if isinstance(tensor, Portions) else (tensor,):
        data = raw_of(portion).data
        file.write(data)
        size += len(data)
    return size


def total_bytes(tensors: Mapping[str, torch.Tensor | Raw]) -> int:
    """How many bytes the tensors have together."""
    return sum(_size(*_layout(name, tensor)) for name, tensor in tensors.items())


def raw_of(tensor: torch.Tensor | Raw) -> Raw:
    """A tensor's bytes: a view of its memory where that is contiguous and the host's, a copy otherwise."""
    if isinstance(tensor, Raw):
        return tensor
    import torch

    kind, shape = _layout("", tensor)
    if not tensor.numel():
        return Raw(kind, shape, b"")
    plain = tensor.detach().cpu().contiguous()
    return Raw(kind, shape, memoryview(plain.flatten().view(torch.uint8).numpy()))


def as_tensor(raw: Raw) -> torch.Tensor:
    """A torch tensor on the same bytes."""
    import torch

    kind = getattr(torch, _TORCH_NAMES[raw.kind])
    if not len(raw.data):
        return torch.empty(raw.shape, dtype=kind)
    return torch.frombuffer(raw.data, dtype=kind).reshape(raw.shape)


def read_tensors(path: str | os.PathLike[str], entry: Entry | None = None) -> dict[str, Raw]:
    """Read a safetensors file whole; with ``entry``, only when it is the file that was written.

    CheckpointError names the file when its size, its hash or its header is not right.
    """
    try:
        content, digest = _read(os.fspath(path), None if entry is None else entry.size)
    except OSError as error:
        raise CheckpointError(f"{shown_path(path)} cannot be read: {error.strerror or error}") from error
    if entry is not None and digest != entry.sha256:
        raise CheckpointError(f"{shown_path(path)} is not as it was written: its hash differs")
    try:
        return dict(_tensors(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{shown_path(path)} is not a right safetensors file: {error}") from error


def map_tensors(path: str | os.PathLike[str]) -> dict[str, Raw]:
    """The tensors of a safetensors file that somebody has checked already, read from disk where they are looked at.

    For a process that needs little of each: nothing else of the file comes into its memory. The hash is not looked at.
    """
    try:
        with open(path, "rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return dict(_tensors(content))
    except OSError as error:
        raise CheckpointError(f"{shown_path(path)} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{shown_path(path)} is not a right safetensors file: {error}") from error


def _layout(name: str, tensor: torch.Tensor | Raw) -> tuple[str, tuple[int, ...]]:
    if isinstance(tensor, Raw):
        return tensor.kind, tensor.shape
    kind = _SAVED_AS.get(str(tensor.dtype).removeprefix("torch."))
    if kind is None or str(tensor.layout) != "torch.strided":
        what = f"{tensor.dtype}, {tensor.layout}"
        raise CheckpointError(f"the tensor {name} ({what}) cannot be saved: safetensors has no such type")
    return kind, tuple(tensor.shape)


def _size(kind: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * _WIDTHS[kind]


def _header(layout: Mapping[str, tuple[str, tuple[int, ...]]], order: list[str], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name in order:
        kind, shape = layout[name]
        end = begin + _size(kind, shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _read(path: str, size: int | None) -> tuple[memoryview, str]:
    """All bytes of a file and their hash, which is taken of one portion while the next is read."""
    digest = sha256()
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        found = os.fstat(handle).st_size
        if size is not None and found != size:
            raise OSError(f"it has {found:,} bytes in place of {size:,}")
        if not found:
            return memoryview(b""), digest.hexdigest()
        # Memory of its own that begins at a page: a file that is mapped could change after it was checked.
        content = memoryview(mmap.mmap(-1, found))
        with ThreadPoolExecutor(1) as pool:
            for begin in range(0, found, _PORTION):
                portion = content[begin : begin + _PORTION]
                _fill(handle, portion)
                pool.submit(digest.update, portion)
    finally:
        os.close(handle)
    return content, digest.hexdigest()


def _fill(handle: int, portion: memoryview) -> None:
    while portion:
        count = os.readv(handle, [portion])
        if not count:
            raise OSError("it ends too early")
        portion = portion[count:]


def _tensors(content: memoryview) -> Iterator[tuple[str, Raw]]:
    """Each tensor of a file whose header says nothing that is not so."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_LONGEST_HEADER, len(content) - 8):  # noqa: PLR2004 - the header's length
        raise ValueError("its header does not fit into it")
    header = json.loads(bytes(content[8 : 8 + length]), object_pairs_hook=_without_doubles)
    header.pop("__metadata__", None)
    data = content[8 + length :]
    end = 0
    for name, said in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        kind, shape, (begin, stop) = said["dtype"], said["shape"], said["data_offsets"]
        numbers = [begin, stop, *shape]
        if any(type(number) is not int or number < 0 for number in numbers) or kind not in _WIDTHS:
            raise ValueError(f"the tensor {name} has a type or a shape that there is not")
        if begin != end or stop - begin != _size(kind, tuple(shape)):
            raise ValueError(f"the tensor {name} is not where its header says")
        end = stop
        yield name, Raw(kind, tuple(shape), data[begin:stop])
    if end != len(data):
        raise ValueError("it is longer or shorter than its header says")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names something twice")
    return found
