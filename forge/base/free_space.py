"""How much room a disk has."""

from __future__ import annotations

import os

__all__ = ["free_space"]


def free_space(folder: str | os.PathLike[str]) -> int | None:
    """The bytes that may still be written below a folder; None where its file system does not tell."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None  # whoever writes is told what is wrong
    return found.f_bavail * found.f_frsize if found.f_blocks else None
