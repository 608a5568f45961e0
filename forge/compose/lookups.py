"""Every look at the disk that a composition makes, remembered, so that a cached result can be proven fresh.

A remembered answer holds as long as each file that was read has the same content, each file that was not there is
still not there, and each folder that was or was not there still is or is not.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigLimitError, FileError
from forge.base.files import read_bounded
from forge.compose.document import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Lookups", "content_digest"]

_PRESENT: Final = "present"  # instead of a digest, for a file whose content was never asked for


def content_digest(data: bytes) -> str:
    """The digest by which two contents of a file are told apart."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Lookups:
    """Answers file questions and keeps each answer: a digest for a file, None for no file, a bool for a folder.

    ``instead`` are contents, by path, that count in place of what the disk has: a file that is not written yet.
    """

    def __init__(self, instead: Mapping[str, bytes] | None = None) -> None:
        self.instead = instead or {}
        self.files: dict[str, str | None] = {}
        self.folders: dict[str, bool] = {}
        self.variables: dict[str, str | None] = {}
        self.current: str | None = None

    def is_file(self, path: str) -> bool:
        """Whether there is a file; its content counts only once it is read."""
        if path not in self.files:
            self.files[path] = _PRESENT if path in self.instead or os.path.isfile(path) else None
        return self.files[path] is not None

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""
        found = self.folders.get(path)
        if found is None:
            found = self.folders[path] = os.path.isdir(path)
        return found

    def read(self, path: str) -> bytes:
        """The content of a file, its digest remembered."""
        data = self.instead.get(path)
        if data is None:
            data = read_bounded(path, MAX_BYTES)
        self.files[path] = content_digest(data)
        return data

    def current_folder(self) -> str:
        """The current folder, on which the answer depends from now on."""
        self.current = os.getcwd()
        return self.current

    def record(self) -> dict[str, Any]:
        """All answers as plain data."""
        return {"files": self.files, "folders": self.folders, "variables": self.variables, "current": self.current}

    @staticmethod
    def still_hold(record: dict[str, Any]) -> bool:
        """Whether every recorded answer would be the same today."""
        return (
            record["current"] in (None, os.getcwd())
            and all(_still_is(path, digest) for path, digest in record["files"].items())
            and all(os.path.isdir(path) == found for path, found in record["folders"].items())
            and all(os.environ.get(name) == value for name, value in record["variables"].items())
        )

    def add_files(self, paths: Iterable[str]) -> None:
        """Let the answer also depend on these files' contents."""
        for path in paths:
            self.files[path] = _digest_of(path)


def _still_is(path: str, digest: str | None) -> bool:
    return os.path.isfile(path) if digest == _PRESENT else _digest_of(path) == digest


def _digest_of(path: str) -> str | None:
    if not os.path.isfile(path):
        return None
    try:
        return content_digest(read_bounded(path, MAX_BYTES))
    except (FileError, ConfigLimitError):
        return "unreadable"
