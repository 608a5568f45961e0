"""A model folder that appears under its name when all of it is on disk, and until then not at all."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, final

from forge.base.errors import FileError, ForgeError, ModelError
from forge.base.file_errors import unwritable
from forge.base.files import force_to_disk, make_folder, make_new_folder, move_folder, remove_file, remove_tree
from forge.base.free_space import free_space
from forge.base.locks import claim
from forge.base.new_file import NewFile
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.ml.checkpoint.manifest import MANIFEST
from forge.ml.checkpoint.place import is_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from forge.base.locks import Claim

__all__ = ["NewModelFolder", "refuse_present"]

_LOCK: Final = ".writing.lock"
_SPARE: Final = 1 << 20


def refuse_present(path: str) -> None:
    """ModelError when nothing may be written here: what is there is never written over, nor added to when it is a checkpoint."""
    if _is_there(path):
        raise ModelError(f"{shown_path(path)} is there already", hint="name a new folder, or move that one away")
    for above in map(str, PurePath(os.path.realpath(path)).parents):
        if is_checkpoint(above) and os.path.isfile(os.path.join(above, MANIFEST)):
            # Its files are known one by one: with another among them it would count as damaged.
            raise ModelError(
                f"{shown_path(path)} is inside of the checkpoint {shown_path(above)}",
                hint="name a folder in another place",
            )


def _is_there(path: str) -> bool:
    """Whether there is something; a name that nothing can have is refused now, and not when all of the model has been written."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    return True


@final
class NewModelFolder:
    """The files of a model folder on their way to disk; a ``with`` block that ends without `commit` leaves nothing behind.

    They are written into a hidden folder beside the new one, which one rename makes the new one. What a killed process has left of
    such a folder is removed by the next that writes the same one.
    """

    def __init__(self, path: str, size: int = 0) -> None:
        self.path = os.path.abspath(path)
        refuse_present(self.path)
        self.parent = os.path.dirname(self.path)
        make_folder(self.parent, durable=True)
        refuse_present(self.path)  # again: of a name in a folder that was not there the system had nothing to say
        _sweep(self.parent, self._mark())
        _check_room(self.parent, size)
        self.staged = os.path.join(self.parent, f"{self._mark()}{os.getpid()}-{os.urandom(4).hex()}")
        make_new_folder(self.staged)
        self._claim: Claim | None = claim(os.path.join(self.staged, _LOCK))

    def file(self, name: str) -> NewFile:
        """A new file in it, to be written in pieces."""
        return NewFile(os.path.join(self.staged, name), hashed=False)

    def write(self, name: str, content: bytes) -> None:
        """Add a file with this content."""
        if "/" in name:
            make_folder(os.path.join(self.staged, os.path.dirname(name)))
        with self.file(name) as file:
            file.write(content)

    def commit(self) -> str:
        """Give the folder its name and return it; from here on it is there for good."""
        for folder, _, _ in os.walk(self.staged, topdown=False):
            force_to_disk(folder)
        remove_file(os.path.join(self.staged, _LOCK))
        move_folder(self.staged, self.path)
        force_to_disk(self.parent)
        return self.path

    def __enter__(self) -> NewModelFolder:
        """The hidden folder is there already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not committed."""
        try:
            remove_tree(self.staged)
        except FileError:
            if error is None:
                raise
        finally:
            if self._claim is not None:
                self._claim.release()

    def _mark(self) -> str:
        """What the hidden folders for this name begin with; the name itself may have the greatest length there is."""
        return f".forge-new-{sha256(os.path.basename(self.path).encode()).hexdigest()[:12]}-"


def _sweep(parent: str, mark: str) -> None:
    """Remove what dead processes have left."""
    for path in _left(parent, mark):
        try:
            held = claim(os.path.join(path, _LOCK), None)
        except ForgeError:
            continue
        if held is not None:
            remove_tree(path)
            held.release()


def _left(parent: str, mark: str) -> Iterator[str]:
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if re.fullmatch(re.escape(mark) + r"\d+-[0-9a-f]{8}", name) and os.path.isdir(path):
            yield path


def _check_room(folder: str, size: int) -> None:
    free = free_space(folder)
    if free is not None and size + _SPARE > free:
        raise ModelError(
            f"{shown_path(folder)} has {shown_size(free)} of free space, and the new model needs {shown_size(size)}",
            hint="free some space, or name a folder on another disk",
        )
