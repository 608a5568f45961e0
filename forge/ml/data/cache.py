"""Encoded examples on disk, so that the same rows are encoded once; read back by mapping the files into memory.

An entry is a folder named by a hash of everything its content depends on, so it is never out of date. Its facts are written
last and hold a checksum of each array: what is not whole is not read, and is made again. What has not been used for long goes when a
new entry comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forge.base.errors import FileError, ForgeError
from forge.base.files import make_private_folder, remove_tree, write_atomic
from forge.base.json_file import read_json
from forge.ml.data.entries import entry_folder, prune, use
from forge.ml.data.report import Report
from forge.ml.data.tokens import Gathering, Shard, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Example", "encoded", "kept"]

Example = tuple[int, "np.ndarray", "np.ndarray | None", int]
"""A row's number, its tokens, which of them are learned (None: all), and how many those are."""

_FACTS: Final = "facts.json"
_FACTS_LIMIT: Final = 64 << 20
_KINDS: Final = {"uint8", "uint16", "uint32", "int64"}


def encoded(key: str) -> tuple[Tokens, Report] | None:
    """The entry of a key; None when there is none, or when it is damaged."""
    folder = entry_folder(key)
    if not os.path.isdir(folder):
        return None
    with contextlib.suppress(FileError):  # what may only be read has nobody to remove it
        use(key)
    try:
        facts = read_json(os.path.join(folder, _FACTS), _FACTS_LIMIT)
        arrays = {name: _mapped(os.path.join(folder, name), *fact) for name, fact in facts["arrays"].items()}
        shards = tuple(Shard(arrays[f"ids-{n}"], arrays.get(f"bits-{n}")) for n in range(facts["shards"]))
        tokens = Tokens(shards, arrays["starts"], arrays["rows"], arrays["learned"])
        return tokens, Report.from_json(facts["report"])
    except (ForgeError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def kept(key: str, examples: Iterable[Example], report: Report) -> Tokens:
    """Write examples as the entry of a key while they come, and return them; the report is complete once all have come."""
    folder = entry_folder(key)
    use(key)
    make_private_folder(folder)
    gathering, arrays, shards = Gathering(), {}, 0
    for example in examples:
        gathering.add(*example)
        if gathering.full():
            arrays |= _write_shard(folder, shards, gathering.shard())
            shards += 1
    arrays |= _write_shard(folder, shards, gathering.shard())
    index = gathering.finish(())
    for name in ("starts", "rows", "learned"):
        arrays[name] = _write(folder, name, getattr(index, name))
    facts = {"arrays": arrays, "shards": shards + 1, "report": report.to_json()}
    write_atomic(os.path.join(folder, _FACTS), json.dumps(facts), durable=False)
    found = encoded(key)
    if found is None:
        raise FileError(f"what was written to {folder} cannot be read back", hint="check the disk and the memory")
    with contextlib.suppress(FileError):  # another time then; the entry is there
        prune()
    return found[0]


def _write_shard(folder: str, number: int, shard: Shard) -> dict[str, Any]:
    facts = {f"ids-{number}": _write(folder, f"ids-{number}", shard.ids)}
    if shard.bits is not None:
        facts[f"bits-{number}"] = _write(folder, f"bits-{number}", shard.bits)
    return facts


def _write(folder: str, name: str, array: np.ndarray) -> tuple[str, int, int]:
    content = array.tobytes()
    try:
        write_atomic(os.path.join(folder, name), content, 0o600, durable=False)
    except FileError as error:
        with contextlib.suppress(FileError):
            remove_tree(folder)  # a part of it is of no use, and it may be the disk that is full
        hint = error.hint or "let it be written to"
        raise FileError(error.what, hint=f"{hint}; FORGE_CACHE_HOME names another folder for prepared data") from error
    return str(array.dtype), len(array), zlib.crc32(content)


def _mapped(path: str, kind: str, count: int, checksum: int) -> np.ndarray:
    if kind not in _KINDS:
        raise ValueError(f"no array has the kind {kind}")
    if os.path.getsize(path) != count * np.dtype(kind).itemsize:
        raise ValueError(f"{path} has another size")
    if not count:
        return np.empty(0, dtype=kind)
    array = np.asarray(np.memmap(path, dtype=kind, mode="r"))
    if zlib.crc32(array.data) != checksum:
        raise ValueError(f"{path} is damaged")
    return array
