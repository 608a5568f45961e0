"""The lines that were typed, kept for each workspace, and shared by all shells that work there.

Every shell adds its lines to one file, and sees what the others added when it asks again. A line that begins with a blank,
or that gives a value to something whose name says that it is a secret, is not kept.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError
from forge.base.files import add_line, make_private_folder
from forge.base.places import user_data
from forge.base.secrets import is_secret_name
from forge.cli.words import scan

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LineHistory", "history_file", "is_kept"]

_MOST_LINES: Final = 3000
_MOST_BYTES: Final = 512 * 1024
_ASSIGNED: Final = re.compile(r"([\w.@/\-]+)\s*[=:]")
_ESCAPES: Final = {"\\\\": "\\", "\\n": "\n"}


class LineHistory:
    """The lines of the workspace that ``folder`` names now; another workspace has other lines."""

    def __init__(self, folder: Callable[[], str]) -> None:
        self._folder = folder
        self._path = ""
        self._seen: tuple[int, int, int] | None = None
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        """All lines, the oldest first; the file is read again only when it is another one or has changed."""
        path = history_file(self._folder())
        seen = _stamp(path)
        if (path, seen) != (self._path, self._seen):
            self._path, self._seen = path, seen
            self._lines = _read(path) if seen is not None else []
        return self._lines

    def add(self, line: str) -> None:
        """Keep a line if it may be kept and is not the one before; a folder that cannot be written is no reason to stop."""
        path = history_file(self._folder())
        if path != self._path:
            self.lines()
        if not is_kept(line) or self._lines[-1:] == [line]:
            return
        self._lines.append(line)
        try:
            make_private_folder(os.path.dirname(path))
            add_line(path, _escaped(line), most_bytes=_MOST_BYTES)
        except FileError:
            return


def history_file(folder: str) -> str:
    """Where the lines of a workspace are kept: its name for people, and a digest of its path to tell two of one name apart."""
    folder = os.path.realpath(folder)
    name = re.sub(r"[^\w\-]+", "-", os.path.basename(folder)) or "root"
    digest = blake2b(folder.encode(errors="surrogateescape"), digest_size=6).hexdigest()
    return os.path.join(user_data(), "history", f"{name[:60]}-{digest}")


def is_kept(line: str) -> bool:
    """Whether a line is worth keeping and tells no secret."""
    if not line.strip() or line[0].isspace():
        return False
    words = [word.text for word in scan(line)]
    for position, word in enumerate(words):
        if any(map(is_secret_name, _ASSIGNED.findall(word))):
            return False
        if word.startswith("-") and is_secret_name(word) and position + 1 < len(words):
            return False
    return not any(map(is_secret_name, _ASSIGNED.findall(line)))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: str) -> list[str]:
    """The newest lines of a file, each once: where it was used last."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2 * _MOST_BYTES))
            written = file.read().decode(errors="replace").split("\n")
    except OSError:
        return []
    newest = dict.fromkeys(_restored(line) for line in reversed(written) if line)
    return list(newest)[:_MOST_LINES][::-1]


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("\n", "\\n")


def _restored(line: str) -> str:
    return re.sub(r"\\[\\n]", lambda found: _ESCAPES[found[0]], line)
