"""Where a config value was written."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

__all__ = ["Layer", "Origin", "shown_path"]

Layer = Literal["project", "search path", "user", "library", "override", "flag", "default", "computed"]


class Origin(NamedTuple):
    """The place a value comes from: a file position, or the text of a command-line override.

    ``file`` is an absolute path, or empty when the value was not written in a file; then ``text`` holds the override
    or flag as the user typed it. ``line`` and ``column`` count from 1, 0 means unknown.
    """

    file: str
    line: int = 0
    column: int = 0
    layer: Layer = "project"
    text: str = ""

    def __str__(self) -> str:
        """``configs/optimizer/adamw.yaml:3``, or ``override 'a.b=1'``."""
        if not self.file:
            return f"{self.layer} {self.text!r}" if self.text else self.layer
        return f"{shown_path(self.file)}:{self.line}" if self.line else shown_path(self.file)


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as people read it: relative to the current folder when it lies below it, otherwise as it is."""
    text = os.fspath(path)
    try:
        here = os.getcwd()
    except OSError:
        return text
    prefix = here.rstrip(os.sep) + os.sep
    return text.removeprefix(prefix)
