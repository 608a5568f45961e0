"""Several processes that write one checkpoint: each its own files, and the first one makes it a checkpoint when all are there.

They meet in the folder of the checkpoint, which all of them see: a process that is done leaves a note there of what it has
written, or of why it could not.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from forge.base.errors import CheckpointError, FileError, ForgeError
from forge.base.files import remove_file, write_atomic
from forge.base.json_file import read_json
from forge.ml.checkpoint.manifest import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.ml.checkpoint.stage import Stage

__all__ = ["Crew", "handing_over", "take_over"]

_NOTE: Final = ".written-by-"
_LIMIT: Final = 64 << 20
_PAUSE: Final = 0.02  # seconds between two looks
_PATIENCE: Final = 600.0  # seconds in which nothing at all is written


class Crew(Protocol):
    """The processes of a run, as far as saving needs them."""

    @property
    def rank(self) -> int:
        """Which of them this process is."""

    @property
    def size(self) -> int:
        """How many they are."""

    def exchange(self, value: Any) -> list[Any]:
        """What each of them says, in their order; all have to ask."""


@contextmanager
def handing_over(stage: Stage, rank: int) -> Iterator[None]:
    """Inside, a process writes its files into the stage of the first one, which is told at the end how that went."""
    try:
        yield
        stage.settle()
    except ForgeError as error:
        _leave_note(stage, rank, error.what)
        raise
    except BaseException as error:
        _leave_note(stage, rank, f"{type(error).__name__}: {error}")
        raise
    _leave_note(stage, rank, "")


def take_over(stage: Stage, size: int, patience: float = _PATIENCE) -> None:
    """Wait for the files of all other processes, and make them the stage's; CheckpointError names a process that failed."""
    missing, written, since = set(range(1, size)), -1, time.monotonic()
    while missing:
        for rank in sorted(missing):
            if (note := _read_note(stage, rank)) is not None:
                missing.remove(rank)
                _adopt(stage, rank, note)
        if not missing:
            return
        time.sleep(_PAUSE)
        if (found := _bytes_in(stage.path)) != written:
            written, since = found, time.monotonic()
        elif time.monotonic() - since > patience:
            names = ", ".join(map(str, sorted(missing)))
            raise CheckpointError(
                f"step {stage.step} was not saved: for {patience:g} s nothing came from process {names} of {size}",
                hint="see whether these processes live, and whether all nodes see the output folder",
            )


def _leave_note(stage: Stage, rank: int, error: str) -> None:
    files = {name: [entry.size, entry.sha256] for name, entry in stage.files.items()}
    try:
        write_atomic(_note(stage, rank), json.dumps({"error": error, "files": files}))
    except FileError:
        if not error:  # otherwise the first mistake is the one to tell
            raise


def _read_note(stage: Stage, rank: int) -> dict[str, Any] | None:
    path = _note(stage, rank)
    if not os.path.exists(path):
        return None
    found: dict[str, Any] = read_json(path, _LIMIT)
    return found


def _adopt(stage: Stage, rank: int, note: dict[str, Any]) -> None:
    if note["error"]:
        raise CheckpointError(f"step {stage.step} was not saved: process {rank}: {note['error']}")
    for name, (size, digest) in note["files"].items():
        stage.adopt_written(name, Entry(size, digest))
    remove_file(_note(stage, rank))


def _note(stage: Stage, rank: int) -> str:
    return os.path.join(stage.path, f"{_NOTE}{rank}")


def _bytes_in(folder: str) -> int:
    """The bytes of the files in a folder; they change as long as somebody writes."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # renamed in between
                total += 1
    return total
