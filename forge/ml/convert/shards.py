"""Tensors that are still in their files to new safetensors files, one tensor after another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any, Final, final

import torch

from forge.base.errors import CheckpointError, ModelError
from forge.ml.checkpoint.tensors import InFile, Portions, write_tensors
from forge.ml.models.stored import FileReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from forge.ml.convert.new_model import NewModelFolder
    from forge.ml.models.stored import Stored

__all__ = ["SHARD", "planned_shards", "size_of", "write_shards"]

SHARD: Final = 5_000_000_000
"""How large a file is made at most, unless the user says otherwise."""
_AT_A_TIME: Final = 2
_PORTION: Final = 1 << 20
"""The bytes that are read, changed and written at a time: what stays near a processor meanwhile."""
_SHARE: Final = 8
"""At most such a part of a file is in memory of what is read at a time."""
_INDEX: Final = "model.safetensors.index.json"


def size_of(stored: Stored) -> int:
    """How many bytes a tensor has."""
    return math.prod(stored.shape) * stored.dtype.itemsize


def planned_shards(tensors: Mapping[str, Stored], limit: int) -> dict[str, list[str]]:
    """The names of the tensors in each file, filled in order up to the limit; a larger tensor has a file for itself."""
    shards: list[list[str]] = [[]]
    room = limit
    for name, stored in tensors.items():
        size = size_of(stored)
        if shards[-1] and size > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    return {f"model-{i:05}-of-{len(shards):05}.safetensors": names for i, names in enumerate(shards, 1)}


def write_shards(
    folder: NewModelFolder, tensors: Mapping[str, Stored], limit: int, advance: Callable[[int], None]
) -> None:
    """Write all tensors, and the index where there are several files; ``advance`` hears of the bytes that are done.

    Two files are written at a time: while the disk takes one, the other is read.
    """
    shards = planned_shards(tensors, limit)
    stop = Event()

    def write(file: str) -> None:
        with folder.file(file) as new:
            here = {name: tensors[name] for name in shards[file]}
            write_tensors(new, _Lazy(here, limit // _SHARE, advance, stop), {"format": "pt"})

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        writing = [pool.submit(write, file) for file in shards]
        try:
            for one in writing:
                one.result()
        except BaseException as error:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, CheckpointError):
                raise ModelError(error.what, hint=error.hint) from error
            raise
    if len(shards) > 1:
        folder.write(_INDEX, _index(tensors, shards))


def _index(tensors: Mapping[str, Stored], shards: Mapping[str, list[str]]) -> bytes:
    size = sum(map(size_of, tensors.values()))
    places = {tensor: file for file, names in shards.items() for tensor in names}
    index: dict[str, Any] = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
    return (json.dumps(index, indent=2) + "\n").encode()


@final
class _Lazy(Mapping[str, "Portions | InFile"]):
    """The tensors of one file: described at once, and read in portions when they are asked for, unless all is to ``stop``.

    Of those that are as another file has them it is said where they are there.
    """

    def __init__(self, stored: Mapping[str, Stored], most: int, advance: Callable[[int], None], stop: Event) -> None:
        self._stored = stored
        self._most = most
        self._advance = advance
        self._stop = stop

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def items(self) -> Any:
        """Name and description: a tensor without content."""
        return {
            name: torch.empty(stored.shape, dtype=stored.dtype, device="meta") for name, stored in self._stored.items()
        }.items()

    def __getitem__(self, name: str) -> Portions | InFile:
        stored = self._stored[name]
        if isinstance(stored.read, FileReader) and stored.read.in_a_row:
            self._go_on(size_of(stored))
            return InFile(stored.read.handle, stored.read.place.start, size_of(stored))
        return Portions(self._portions(stored))

    def _portions(self, stored: Stored) -> Iterator[Tensor]:
        for portion in stored.portions(self._most if stored.scattered else min(_PORTION, self._most)):
            self._go_on(portion.nbytes)
            yield portion

    def _go_on(self, size: int) -> None:
        if self._stop.is_set():
            raise ModelError("the conversion was stopped")
        self._advance(size)
