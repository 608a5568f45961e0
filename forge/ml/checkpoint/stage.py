"""A checkpoint that is being written: a folder under a hidden name, which one rename makes a checkpoint."""

from __future__ import annotations

import json
import math
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, final

from forge.base.errors import CheckpointError, FileError
from forge.base.files import force_to_disk, make_folder, make_new_folder, move_folder, remove_tree
from forge.base.new_file import NewFile
from forge.ml.checkpoint.manifest import MANIFEST, Entry, Manifest, Score, check_name
from forge.ml.checkpoint.tensors import write_tensors
from forge.ml.checkpoint.verify import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    import torch

    from forge.ml.checkpoint.tensors import Raw

__all__ = ["STAGED", "Stage"]

STAGED: Final = ".staging-"


@final
class Stage:
    """The files of a checkpoint on their way to disk; a ``with`` block that ends without `commit` leaves nothing behind.

    A file is forced to disk, and the rest of it hashed, while the next one is written: what a file is made of must not be changed
    before `settle`, which `commit` begins with. ``place`` is asked at the end for the path of the checkpoint and its place in the
    order of all of them. Another process that writes into the same folder has a stage on its ``path``, which it neither commits
    nor removes.
    """

    def __init__(
        self, folder: str, step: int, place: Callable[[], tuple[str, int]] | None, path: str | None = None
    ) -> None:
        self.step = step
        self.path = path or os.path.join(folder, f"{STAGED}{step}-{os.getpid()}-{os.urandom(4).hex()}")
        self.files: dict[str, Entry] = {}
        """What is on disk so far."""
        self._last: tuple[str, NewFile] | None = None  # what was written last, on its way to disk
        self._place = place
        self._committed = False
        if path is None:
            self._guarded(make_new_folder, self.path)

    def write_tensors(
        self, name: str, tensors: Mapping[str, torch.Tensor | Raw], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Add a safetensors file, which says that its tensors are torch's unless ``metadata`` says otherwise."""
        chosen = {"format": "pt"} if metadata is None else metadata
        self._write(name, lambda file: write_tensors(file, tensors, chosen))

    def write_json(self, name: str, value: Any) -> None:
        """Add a JSON file."""
        self.write_bytes(name, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Add a file with this content."""
        self._write(name, lambda file: file.write(content))

    def adopt(self, name: str) -> None:
        """Add a file that somebody else has written into the stage's folder under this name."""
        path = os.path.join(self.path, self._new(name))
        self._guarded(force_to_disk, path)
        try:
            self.files[name] = Entry(os.path.getsize(path), file_sha256(path))
        except OSError as error:
            raise self._failed(f"{name} cannot be read: {error.strerror}") from error

    def settle(self) -> None:
        """Wait until all that was written is on disk."""
        if self._last is not None:
            (name, file), self._last = self._last, None
            self._guarded(file.finish)
            self.files[name] = Entry(file.size, file.sha256)

    def adopt_written(self, name: str, entry: Entry) -> None:
        """Add a file that another process has written, and brought to disk, into the stage's folder."""
        self.files[self._new(name)] = entry

    def commit(self, facts: Mapping[str, Any] | None = None, score: Score | None = None) -> str:
        """Make it a checkpoint and return its path; from here on it is there for good, and before it was not at all."""
        if self._place is None:
            raise CheckpointError("only the process that began a checkpoint can commit it")
        self.settle()
        path, sequence = self._place()
        saved = datetime.now(timezone.utc).isoformat(timespec="seconds")
        manifest = Manifest(self.step, sequence, saved, self.files, dict(facts or {}), _finite(score))
        content = manifest.to_bytes()
        self._guarded(self._finish, path, content)
        return path

    def abort(self) -> None:
        """Remove it, as far as that is possible: what stays is removed by the next who saves here."""
        if self._last is not None:
            self._last[1].give_up()
            self._last = None
        if self._place is not None and not self._committed:
            try:
                remove_tree(self.path)
            except FileError:
                return

    def __enter__(self) -> Stage:
        """The folder is there already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not committed; what is another process's to commit is brought to disk."""
        if error is None and self._place is None:
            self.settle()
        self.abort()

    def _finish(self, path: str, content: bytes) -> None:
        with NewFile(os.path.join(self.path, MANIFEST)) as file:
            file.write(content)
        for folder in self._folders():
            force_to_disk(folder)
        move_folder(self.path, path)
        self._committed = True
        force_to_disk(os.path.dirname(path))

    def _folders(self) -> list[str]:
        """Every folder of the checkpoint, what is inside before what is around it."""
        steps = [name.split("/")[:-1] for name in self.files]
        inner = {os.path.join(*parts[:depth]) for parts in steps for depth in range(1, len(parts) + 1)}
        return [os.path.join(self.path, name) for name in sorted(inner, reverse=True)] + [self.path]

    def _write(self, name: str, fill: Callable[[NewFile], None]) -> None:
        path = os.path.join(self.path, self._new(name))
        self._guarded(self._fill, path, name, fill)

    def _fill(self, path: str, name: str, fill: Callable[[NewFile], None]) -> None:
        if "/" in name:
            make_folder(os.path.dirname(path))
        file = NewFile(path)
        try:
            fill(file)
            self.settle()
        except BaseException:
            file.give_up()
            raise
        self._last = name, file

    def _new(self, name: str) -> str:
        try:
            check_name(name)
        except ValueError as error:
            raise CheckpointError(f"a checkpoint {error}") from error
        if name in self.files or (self._last is not None and name == self._last[0]):
            raise CheckpointError(f"{name} is in this checkpoint already")
        return name

    def _guarded(self, act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(*arguments)
        except FileError as error:
            raise self._failed(error.what, error.hint) from error

    def _failed(self, why: str, hint: str | None = None) -> CheckpointError:
        return CheckpointError(f"step {self.step} was not saved: {why}", hint=hint)


def _finite(score: Score | None) -> Score | None:
    """The score, when it is one: an evaluation that came to no number says nothing about which checkpoint is best."""
    if score is None or not math.isfinite(score.value):
        return None
    return Score(score.name, float(score.value), score.greater_is_better)
