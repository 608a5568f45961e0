"""What a run is made of, beside its model, to tensors and JSON and back, bit for bit and without pickle."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from forge.base.errors import CheckpointError
from forge.base.files import read_bounded
from forge.base.origin import shown_path
from forge.ml.checkpoint.link import STATE
from forge.ml.checkpoint.manifest import read_manifest
from forge.ml.checkpoint.tensors import as_tensor, map_tensors, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.ml.checkpoint.manifest import Entry

__all__ = ["STATE_FILE", "pack", "pack_parts", "random_state", "read_state", "set_random_state", "unpack"]

STATE_FILE: Final = f"{STATE}/state.json"
_TENSOR_FILE: Final = re.compile(rf"{STATE}/(?P<key>[^/]+?)(-\d{{5}}-of-\d{{5}})?\.safetensors")
_TAG: Final = "%"  # the key of a JSON object that stands for something JSON has no word for
_FORMAT: Final = 1
_LIMIT: Final = 1 << 30
# Tensors that consist of others; nothing else is taken apart and put together again.
_COMPOSED: Final = {
    f"torchao.optim.{module}.{name}"
    for module, name in (
        ("subclass_8bit", "OptimState8bit"),
        ("subclass_4bit", "OptimState4bit"),
        ("subclass_fp8", "OptimStateFp8"),
    )
}
_PLAIN_TENSORS: Final = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def pack(value: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Split nested dicts, lists, tuples, numbers, texts and tensors into named tensors and plain JSON.

    The tensors are those given, not copies. What is none of these is a CheckpointError that says where it stands.
    """
    packer = _Packer()
    tree = packer.pack(value, ())
    return packer.tensors, tree


def unpack(tensors: Mapping[str, torch.Tensor], tree: Any) -> Any:
    """Put together again what `pack` took apart; the same types, values and keys in the same order."""
    if isinstance(tree, list):
        return [unpack(tensors, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if _TAG not in tree:
        return {key: unpack(tensors, item) for key, item in tree.items()}
    kind = tree[_TAG]
    if kind not in _UNPACKERS:
        raise CheckpointError(f"the state of the run has a {kind!r}, which this version of forge does not know")
    return _UNPACKERS[kind](tensors, tree)


def pack_parts(state: Mapping[str, Any], part: str = "") -> tuple[dict[str, dict[str, torch.Tensor]], bytes]:
    """The files that hold a run's state: tensors by file name, one file for each key, and the JSON that goes with them.

    Of a state that several processes write, tensors that another one has are on the meta device here, and ``part`` is what the
    names of this one's files end with.
    """
    files: dict[str, dict[str, torch.Tensor]] = {}
    parts = {}
    for key, value in state.items():
        tensors, parts[key] = pack(value)
        if held := {name: tensor for name, tensor in tensors.items() if not tensor.is_meta}:
            files[_tensor_file(key, part)] = held
    return files, json.dumps({"format": _FORMAT, "parts": parts}, allow_nan=False).encode()


def read_state(folder: str | os.PathLike[str], *, checked: bool = False) -> dict[str, Any]:
    """The state of the run in a checkpoint; every byte of it is checked before it is used.

    Where another process has ``checked`` it, tensors are read from disk only where they are looked at: whoever keeps one copies it.
    """
    manifest = read_manifest(folder)
    entry = manifest.files.get(STATE_FILE)
    if entry is None:
        raise CheckpointError(f"{shown_path(folder)} holds a model and no state of a run: it cannot be resumed")
    parts = _read_parts(os.path.join(folder, STATE_FILE), entry)
    names = [name for name in manifest.files if _TENSOR_FILE.fullmatch(name)]
    tensors: dict[str, dict[str, torch.Tensor]] = {}

    def read(name: str) -> dict[str, torch.Tensor]:
        path = os.path.join(folder, name)
        found = map_tensors(path) if checked else read_tensors(path, manifest.files[name])
        return {tensor: as_tensor(raw) for tensor, raw in found.items()}

    with ThreadPoolExecutor(max(1, min(len(names), os.cpu_count() or 1))) as pool:
        for name, found in zip(names, pool.map(read, names), strict=True):
            tensors.setdefault(_TENSOR_FILE.fullmatch(name)["key"], {}).update(found)
    try:
        return {key: unpack(tensors.get(key, {}), tree) for key, tree in parts.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{shown_path(folder)}: the state of the run cannot be put together: {error}") from error


def random_state() -> dict[str, Any]:
    """The state of every random generator that a run draws from: Python's, NumPy's, torch's on the host and on each GPU."""
    version, numbers, gauss = random.getstate()
    drawn = np.random.get_state(legacy=False)  # noqa: NPY002 - for libraries that use the old generator
    return {
        "python": {"version": version, "numbers": torch.tensor(numbers, dtype=torch.int64), "gauss": gauss},
        "numpy": {**drawn, "state": {**drawn["state"], "key": torch.from_numpy(drawn["state"]["key"].copy())}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Let every random generator go on from where `random_state` was asked."""
    python, drawn = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["numbers"].tolist()), python["gauss"]))
    np.random.set_state({**drawn, "state": {**drawn["state"], "key": drawn["state"]["key"].numpy()}})  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, numbers in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(numbers, device)


class _Packer:
    """Collects the tensors of one value, each once."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._known: dict[int, str] = {}

    def pack(self, value: Any, path: tuple[str, ...]) -> Any:
        if value is None or type(value) in (str, bool, int):
            return value
        if isinstance(value, float):
            return self._float(value)
        if isinstance(value, dict):
            return self._dict(value, path)
        if type(value) in (list, tuple, torch.Size):
            items = [self.pack(item, (*path, str(number))) for number, item in enumerate(value)]
            return items if type(value) is list else {_TAG: type(value).__name__.lower(), "items": items}
        if isinstance(value, torch.Tensor):
            return self._tensor(value, path)
        if isinstance(value, torch.dtype):
            return {_TAG: "dtype", "name": str(value).removeprefix("torch.")}
        if isinstance(value, (np.integer, np.bool_)):
            return value.item()
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CheckpointError(f"{'.'.join(path) or 'the state'} cannot be saved: it is a {kind}")

    def _float(self, value: float) -> Any:
        # JSON writes every finite number so that the same one is read back; the others by their bits.
        return float(value) if value - value == 0 else {_TAG: "float", "bits": struct.pack(">d", value).hex()}

    def _dict(self, value: dict[Any, Any], path: tuple[str, ...]) -> Any:
        if all(type(key) is str for key in value) and _TAG not in value:
            return {key: self.pack(item, (*path, key)) for key, item in value.items()}
        pairs = [[self.pack(key, path), self.pack(item, (*path, str(key)))] for key, item in value.items()]
        return {_TAG: "dict", "items": pairs}

    def _tensor(self, value: torch.Tensor, path: tuple[str, ...]) -> Any:
        if type(value) not in _PLAIN_TENSORS:
            return self._composed(value, path)
        if id(value) not in self._known:
            name = ".".join(path) or "value"
            while name in self.tensors:
                name += "+"
            self.tensors[name] = value.detach()
            self._known[id(value)] = name
        return {_TAG: "tensor", "name": self._known[id(value)]}

    def _composed(self, value: torch.Tensor, path: tuple[str, ...]) -> Any:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if kind not in _COMPOSED:
            raise CheckpointError(
                f"{'.'.join(path) or 'the state'} cannot be saved: it is a tensor of the class {kind}"
            )
        names, context = value.__tensor_flatten__()
        return {
            _TAG: "composed",
            "class": kind,
            "tensors": {name: self._tensor(getattr(value, name), (*path, name)) for name in names},
            "context": self.pack(context, path),
        }


def _unpack_composed(tensors: Mapping[str, torch.Tensor], tree: dict[str, Any]) -> torch.Tensor:
    if tree["class"] not in _COMPOSED:
        raise CheckpointError(f"the state of the run has a tensor of the class {tree['class']}, which is not known")
    module, _, name = tree["class"].rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"the optimizer's state consists of {name} of torchao, which cannot be imported",
            hint="install torchao: pip install 'forge[lowbit]'",
        ) from error
    inner = {name: unpack(tensors, item) for name, item in tree["tensors"].items()}
    return kind.__tensor_unflatten__(inner, unpack(tensors, tree["context"]))


_UNPACKERS: Final = {
    "tensor": lambda tensors, tree: tensors[tree["name"]],
    "tuple": lambda tensors, tree: tuple(unpack(tensors, item) for item in tree["items"]),
    "size": lambda tensors, tree: torch.Size(unpack(tensors, item) for item in tree["items"]),
    "dict": lambda tensors, tree: {unpack(tensors, key): unpack(tensors, item) for key, item in tree["items"]},
    "float": lambda _, tree: struct.unpack(">d", bytes.fromhex(tree["bits"]))[0],
    "dtype": lambda _, tree: _dtype(tree["name"]),
    "composed": _unpack_composed,
}


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise CheckpointError(f"the state of the run has the type {name!r}, which torch does not have")
    return found


def _tensor_file(key: str, part: str) -> str:
    return f"{STATE}/{key}{part}.safetensors"


def _read_parts(path: str, entry: Entry) -> dict[str, Any]:
    from hashlib import sha256

    content = read_bounded(path, _LIMIT)
    if len(content) != entry.size or sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(f"{shown_path(path)} is not as it was written: its hash differs")
    found = json.loads(content)
    if found["format"] != _FORMAT:
        raise CheckpointError(f"{shown_path(path)} was written by another version of forge")
    return found["parts"]
