"""How many parameters lie in a model's folder: what a plan that knows the model's family by its config alone is held to."""

from __future__ import annotations

import json
import math
import os
from typing import Any, Final

from forge.base.errors import ForgeError
from forge.base.files import open_regular
from forge.base.json_file import read_object

__all__ = ["stored_parameters"]

_INDEX: Final = "model.safetensors.index.json"
_ONE: Final = "model.safetensors"
_LARGEST: Final = 64 << 20
_LENGTH: Final = 8  # bytes before a header that say how long it is
# Of others, such as weights of eight bits, several numbers may lie in one.
_NUMBERS: Final = frozenset({"F64", "F32", "F16", "BF16"})


def stored_parameters(folder: str) -> int | None:
    """How many numbers the safetensors files of a model hold; None where there are none, or some that cannot be counted."""
    try:
        names = _files(folder)
        return sum(_numbers(os.path.join(folder, name)) for name in names) or None
    except (ForgeError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # what is wrong with the weights is told by what loads them


def _files(folder: str) -> list[str]:
    index = os.path.join(folder, _INDEX)
    if not os.path.isfile(index):
        return [_ONE]
    return sorted({os.path.basename(name) for name in read_object(index, _LARGEST)["weight_map"].values()})


def _numbers(path: str) -> int:
    with open_regular(path) as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > _LARGEST:
            raise ValueError(path)
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    if any(tensor["dtype"] not in _NUMBERS for tensor in header.values()):
        raise ValueError(path)
    return sum(math.prod(tensor["shape"]) for tensor in header.values())
