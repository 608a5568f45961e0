"""In which order a save reaches the disk, so that a machine that loses power keeps what was committed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Strace

_OPENED = re.compile(r'openat\(AT_FDCWD, "(?P<path>[^"]+)".*\) += (?P<handle>\d+)$')
_SYNCED = re.compile(r"fsync\((?P<handle>\d+)\) += 0$")
_WROTE = re.compile(r"writev?\((?P<handle>\d+),")
_MOVED = re.compile(r'rename\("(?P<source>[^"]+)", "(?P<target>[^"]+)"\) += 0$')


def events(strace: Strace, action: str, folder: Path, size: int) -> list[tuple[str, str]]:
    """What was written, forced to disk and renamed, by path below the folder of checkpoints."""
    handles: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for call in strace.calls(action, folder, size):
        if opened := _OPENED.search(call.text):
            handles[opened["handle"]] = opened["path"]
        elif wrote := _WROTE.search(call.text):
            found.append(("write", handles[wrote["handle"]]))
        elif synced := _SYNCED.search(call.text):
            found.append(("fsync", handles[synced["handle"]]))
        elif moved := _MOVED.search(call.text):
            found.append(("rename", moved["source"]))
    place = f"{folder / 'checkpoints'}"
    short = [(what, os.path.relpath(path, place)) for what, path in found]
    return [(what, re.sub(r"\.staging-[\w-]+", "STAGE", path)) for what, path in short]


@pytest.mark.parametrize("size", [1000, pytest.param(20_000_000, marks=pytest.mark.slow)])
def test_files_then_folders_then_the_rename_then_the_folder_around_it(
    strace: Strace, with_steps: Callable[..., Path], size: int
) -> None:
    seen = events(strace, "save", with_steps(1), size)
    staged = [event for event in seen if event[1].startswith("STAGE")]
    written = {path for what, path in staged if what == "write"}
    assert len(written) == 6
    for path in written:
        last = max(number for number, event in enumerate(staged) if event == ("write", path))
        assert ("fsync", path) in staged[last:], path
    assert staged[-5:] == [
        ("write", "STAGE/manifest.json"),
        ("fsync", "STAGE/manifest.json"),
        ("fsync", "STAGE/state"),
        ("fsync", "STAGE"),
        ("rename", "STAGE"),
    ]
    assert seen[seen.index(("rename", "STAGE")) + 1] == ("fsync", ".")


def test_a_checkpoint_loses_its_name_on_disk_before_its_files(strace: Strace, with_steps: Callable[..., Path]) -> None:
    folder = with_steps(1, 2, 3)
    calls = [call for call in strace.calls("prune", folder) if call.changes]
    names = [call.name for call in calls]
    assert names.index("rename") < names.index("fsync") < names.index("unlinkat")
    assert names.count("rename") == 1
