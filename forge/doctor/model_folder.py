"""Whether a model's folder is whole, and how long it takes to read."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.base.json_file import read_json
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.doctor.row import DoctorRow

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["model_rows"]

_SECTION: Final = "storage"
_INDEXES: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS: Final = (".safetensors", ".bin", ".pth")
_LARGEST: Final = 64 << 20
_PIECE: Final = 1 << 20
_MOST: Final = 64 << 20
_SECONDS: Final = 1.0
_LONG: Final = 60.0


def model_rows(folder: str) -> list[DoctorRow]:
    """Rows for a model's folder."""
    name = "model folder"
    if not os.path.isfile(os.path.join(folder, "config.json")):
        says = f"{shown_path(folder)} has no config.json"
        return [DoctorRow(_SECTION, name, "bad", says, "name the folder of a model; `forge download` gets one")]
    files = [os.path.join(folder, file) for file in sorted(os.listdir(folder)) if file.endswith(_WEIGHTS)]
    missing = list(_missing(folder))
    if missing:
        index, absent = missing[0]
        says = f"{index} names {absent}, which is not there"
        return [
            DoctorRow(
                _SECTION, name, "bad", says, f"`forge download` it again, or remove {index} if other weights are there"
            )
        ]
    if not files:
        return [DoctorRow(_SECTION, name, "bad", f"{shown_path(folder)} has no weights", "`forge download` gets them")]
    size = sum(os.path.getsize(file) for file in files)
    rows = [DoctorRow(_SECTION, name, "good", f"{len(files)} files of weights, {shown_size(size)}")]
    return [*rows, _reading(files[0], size)]


def _missing(folder: str) -> Iterator[tuple[str, str]]:
    """Indexes, each with the first file that it names and that is not there."""
    for index in _INDEXES:
        path = os.path.join(folder, index)
        if not os.path.isfile(path):
            continue
        try:
            named = read_json(path, _LARGEST)["weight_map"].values()
        except (ForgeError, KeyError, TypeError, AttributeError):
            yield index, "nothing that can be read"
            continue
        absent = sorted(file for file in set(map(str, named)) if not os.path.isfile(os.path.join(folder, file)))
        if absent:
            yield index, absent[0]


def _reading(path: str, size: int) -> DoctorRow:
    """How long all of it takes at the speed of its first part; what was read lately comes from memory."""
    speed = _speed(path)
    seconds = size / speed
    says = f"{shown_size(speed)}/s, {seconds:.0f} s for all of it" if seconds >= 1 else f"{shown_size(speed)}/s"
    remedy = "it is read once, when a run begins: a copy on a disk of each machine is quicker"
    return DoctorRow(_SECTION, "reading it", "warning" if seconds > _LONG else "good", says, remedy * (seconds > _LONG))


def _speed(path: str) -> float:
    done, began = 0, time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            done += len(piece)
            if done >= _MOST or time.monotonic() - began > _SECONDS:
                break
    return max(done, 1) / max(time.monotonic() - began, 1e-6)
