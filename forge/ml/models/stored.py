"""The weights of a model folder: what each tensor is called, its shape and type, and a way to read it, one at a time.

Nothing is read before it is asked for, and a tensor is read into memory of its own: reading a model never needs more than the
model and one tensor, and a file that changes or shrinks meanwhile is an error instead of a crash.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from glob import escape, glob
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open

from forge.base.errors import ForgeError, ModelError
from forge.base.json_file import read_json
from forge.ml.models.adapter_folder import refuse_adapter
from forge.ml.models.archive import TensorPlace, tensor_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

__all__ = ["FileReader", "Stored", "Weights", "open_weights"]

# What transformers looks for, in the same order; the last is what Meta publishes.
_SINGLE: Final = ("model.safetensors", "pytorch_model.bin")
_CONSOLIDATED: Final = "consolidated*.pth"
_MAX_INDEX: Final = 64 << 20
_MAX_HEADER: Final = 16 << 20
_DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that is still in its file."""

    name: str
    file: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    part: Callable[[Sequence[Tensor]], Tensor] | None = None
    """Reads what is at some places in each dimension, and nothing else; None where it has to be read whole."""
    scattered: bool = False
    """Whether a row of it lies in many places of its file, so that it takes long to read by few rows at a time."""

    def read_by(
        self,
        read: Callable[[], Tensor],
        part: Callable[[Sequence[Tensor]], Tensor] | None = None,
        *,
        shape: tuple[int, ...] | None = None,
    ) -> Stored:
        """The tensor as something else reads it, whole and in parts."""
        return replace(self, shape=self.shape if shape is None else shape, read=read, part=part)

    def made(self, change: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Stored:
        """What ``change`` makes of it, which changes each number for itself."""
        part = self.part
        changed = self.read_by(
            lambda: change(self.read()), None if part is None else lambda places: change(part(places))
        )
        return replace(changed, dtype=dtype)

    def portions(self, most: int) -> Iterator[Tensor]:
        """Its rows in their order, of about so many bytes at a time; all at once where it has to be read whole."""
        size = math.prod(self.shape) * self.dtype.itemsize
        if self.part is None or size <= most or not self.shape:
            yield self.read()
            return
        rows = max(1, self.shape[0] * most // size)
        columns = [torch.arange(length) for length in self.shape[1:]]
        for first in range(0, self.shape[0], rows):
            yield self.part([torch.arange(first, min(first + rows, self.shape[0])), *columns])


@dataclass(frozen=True, slots=True)
class Weights:
    """All tensors of a model folder; those of consolidated files are one dict for each model-parallel part."""

    folder: str
    parts: tuple[dict[str, Stored], ...]
    consolidated: bool


@contextmanager
def open_weights(folder: str) -> Iterator[Weights]:
    """The weights in a model folder, as long as the files stay open."""
    files, named = _files(folder)
    with ExitStack() as opened:
        parts = [_opened(os.path.join(folder, file), opened) for file in files]
        if consolidated := files[0].endswith(".pth"):
            yield Weights(folder, tuple(parts), consolidated)
            return
        together = _together(parts)
        if absent := sorted(set(named) - set(together)):
            raise ModelError(f"{folder}: the index names {absent[0]}, which is not in {named[absent[0]]}")
        yield Weights(folder, (together,), consolidated)


def _files(folder: str) -> tuple[list[str], dict[str, str]]:
    """The files with weights, and the tensors that the index expects in each."""
    for single in _SINGLE:
        if os.path.isfile(os.path.join(folder, single)):
            return [single], {}
        if os.path.isfile(os.path.join(folder, f"{single}.index.json")):
            named = _index(folder, f"{single}.index.json")
            return sorted(set(named.values())), named
    consolidated = sorted(os.path.basename(path) for path in glob(os.path.join(escape(folder), _CONSOLIDATED)))
    if consolidated:
        return consolidated, {}
    refuse_adapter(folder)
    raise ModelError(
        f"the folder {folder} has no weights",
        hint=f"it needs {_SINGLE[0]}, {_SINGLE[0]}.index.json, {_SINGLE[1]}, {_SINGLE[1]}.index.json or {_CONSOLIDATED}",
    )


def _index(folder: str, name: str) -> dict[str, str]:
    path = os.path.join(folder, name)
    try:
        named = read_json(path, _MAX_INDEX)["weight_map"]
    except (ForgeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no index of weights ({_reason(error)})") from error
    if not isinstance(named, dict) or not named:
        raise ModelError(f"{path} is no index of weights (it names no tensor)")
    for tensor, file in named.items():
        if (
            not isinstance(file, str)
            or os.path.basename(file) != file
            or not os.path.isfile(os.path.join(folder, file))
        ):
            what = f"{path}: the file {file!r:.100} of {tensor:.200} is not in the folder"
            raise ModelError(what, hint="get it again: the folder was copied or downloaded in part")
    return named


def _together(parts: Sequence[dict[str, Stored]]) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for part in parts:
        for name, stored in part.items():
            if name in found:
                raise ModelError(f"the tensor {name} is in two files: {found[name].file} and {stored.file}")
            found[name] = stored
    return found


def _opened(path: str, opened: ExitStack) -> dict[str, Stored]:
    """The tensors of one file.

    It is read, not mapped: a mapped file counts as memory beside the model's own, and kills the process when it shrinks.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ModelError(f"cannot read {path} ({_reason(error)})") from error
    opened.callback(os.close, handle)
    places = _safetensors(path) if path.endswith(".safetensors") else tensor_places(handle, path)
    return {
        name: Stored(
            name,
            path,
            place.shape,
            getattr(torch, place.dtype),
            FileReader(handle, place, name, path),
            _part_reader(handle, place, name, path),
        )
        for name, place in places.items()
    }


def _safetensors(path: str) -> dict[str, TensorPlace]:
    try:
        header, data = _header(path)
        # The library's own checks: no overlap, no hole, shapes and types that fit.
        with safe_open(path, framework="pt"):
            return {name: _place(entry, data) for name, entry in header.items()}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({_reason(error)})", hint="get the file again") from error


def _place(entry: dict[str, Any], data: int) -> TensorPlace:
    empty = torch.empty(entry["shape"], device="meta")
    return TensorPlace(
        data + entry["data_offsets"][0], empty.numel(), _DTYPES[entry["dtype"]], tuple(empty.shape), empty.stride()
    )


def _header(path: str) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, in which no name stands twice, and where the data begins."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            raise ValueError(f"its header has {length:,} bytes")
        header = json.loads(file.read(length), object_pairs_hook=_once)
    header.pop("__metadata__", None)
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in its header twice")
    return found


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads a tensor as its file has it. What changes a tensor is read by something else."""

    handle: int
    place: TensorPlace
    name: str
    path: str

    @property
    def in_a_row(self) -> bool:
        """Whether its numbers stand in the file in their order, with nothing between them."""
        like = torch.empty(self.place.shape, device="meta")
        return like.stride() == self.place.stride and like.numel() == self.place.length

    def __call__(self) -> Tensor:
        """The tensor, in memory of its own."""
        window = torch.empty(self.place.length, dtype=getattr(torch, self.place.dtype))
        try:
            _read_into(memoryview(window.view(torch.uint8).numpy()), self.handle, self.place.start)
        except OSError as error:
            raise ModelError(f"cannot read {self.name} from {self.path} ({_reason(error)})") from error
        return window.as_strided(self.place.shape, self.place.stride).contiguous()


def _part_reader(handle: int, place: TensorPlace, name: str, path: str) -> Callable[[Sequence[Tensor]], Tensor] | None:
    if place.stride != torch.empty(place.shape, device="meta").stride():
        return None

    def read(places: Sequence[Tensor]) -> Tensor:
        piece = torch.empty([len(own) for own in places], dtype=getattr(torch, place.dtype))
        rest = memoryview(piece.view(-1).view(torch.uint8).numpy())
        try:
            for first, count in _runs(place, places):
                length = count * piece.element_size()
                _read_into(rest[:length], handle, place.start + first * piece.element_size())
                rest = rest[length:]
        except OSError as error:
            raise ModelError(f"cannot read {name} from {path} ({_reason(error)})") from error
        return piece

    return read


def _runs(place: TensorPlace, places: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Where numbers that lie behind one another in the file begin, and how many they are."""
    cut = [dim for dim, own in enumerate(places) if len(own) < place.shape[dim]]
    last = cut[-1] if cut else 0
    if not places or not all(map(len, places)):
        return
    own, width = places[last], place.stride[last]
    breaks = (own.diff() != 1).nonzero().flatten() + 1
    runs = [(int(run[0]) * width, len(run) * width) for run in own.tensor_split(breaks)]
    for outer in product(*(each.tolist() for each in places[:last])):
        base = sum(number * stride for number, stride in zip(outer, place.stride[:last], strict=True))
        for first, count in runs:
            yield base + first, count


def _read_into(rest: memoryview, handle: int, at: int) -> None:
    while rest:
        done = os.preadv(handle, [rest], at)
        if done == 0:
            raise OSError("the file has become shorter")
        rest, at = rest[done:], at + done


def _reason(error: Exception) -> str:
    text = error.what if isinstance(error, ForgeError) else f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())[:200]
