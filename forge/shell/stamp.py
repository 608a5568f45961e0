"""Whether anything changed that a composition or a check reads, told by file times and sizes alone."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.base.places import user_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.compose.project import Project

__all__ = ["stamp"]

_MOST: Final = 20_000
_NAMES: Final = (".yaml", ".py")


def stamp(project: str | None) -> int:
    """A number that is another one when the project's configs, groups or Python files are other ones."""
    from forge.compose.project import find_project  # reads YAML, which a prompt can do without

    try:
        found = find_project(project)
    except (ForgeError, OSError) as error:
        return hash(str(error))
    return hash(tuple(islice(_facts(found), _MOST)))


def _facts(project: Project) -> Iterator[tuple[str, int, int, int]]:
    for path in (*project.project_files, user_settings()):
        yield _fact(path)
    for folder in dict.fromkeys([*(root.folder for root in project.roots), *project.source_folders]):
        yield from _below(folder)


def _below(folder: str) -> Iterator[tuple[str, int, int, int]]:
    """Every folder and every file that is read, at and below a folder; a folder's time tells of new and removed files."""
    stack = [folder]
    while stack:
        current = stack.pop()
        yield _fact(current)
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith((".", "__pycache__")):
                            stack.append(entry.path)
                    elif entry.name.endswith(_NAMES):
                        yield _fact(entry.path)
        except OSError:
            continue


def _fact(path: str) -> tuple[str, int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (path, 0, 0, 0)
    return (path, found.st_mtime_ns, found.st_size, found.st_ino)
