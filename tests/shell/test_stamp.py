from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.shell.stamp import stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def change(path: Path) -> None:
    """Write something as long as before: only the time tells."""
    before = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def add(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("a: 1\n")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("configs/tiny.yaml", change),
        ("configs/size/large.yaml", change),
        ("configs/size/huge.yaml", add),
        ("configs/more/new.yaml", add),
        ("src/own.py", add),
        ("configs/size/small.yaml", os.unlink),
        ("project.yaml", lambda path: path.write_text("nonsense: 1\n")),
    ],
)
def test_every_change_of_a_file_that_counts_is_seen(project: Path, name: str, what: Callable[[Path], object]) -> None:
    before = stamp(str(project))
    assert stamp(str(project)) == before
    what(project / name)
    assert stamp(str(project)) != before


def test_what_forge_does_not_read_makes_no_difference(project: Path) -> None:
    (project / "output").mkdir()
    (project / "configs" / "notes.txt").touch()
    before = stamp(str(project))
    (project / "output" / "log.yaml").write_text("x")
    (project / "configs" / "notes.txt").write_text("more")
    assert stamp(str(project)) == before


def test_where_there_is_no_project_there_is_a_number_too(project: Path) -> None:
    assert stamp(str(project / "nosuch")) == stamp(str(project / "nosuch"))
