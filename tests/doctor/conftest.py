"""Programs that say what a test wants them to say, in place of those of the machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Program: TypeAlias = Callable[[str, str], Path]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """``program("nvidia-smi", "echo 7")`` puts a script in front of all others."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def ssh(program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of ssh, what runs the command here; the host ``gone`` is not reached, and ``bare`` has no forge."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    bare = f"exec {shlex.quote(sys.executable)} -I -S -m forge.doctor.agent"
    return program(
        "ssh",
        "for word; do host=$last; last=$word; done\n"
        'case $host in gone) echo "ssh: no route to gone" >&2; exit 255;;\n'
        f"bare) {bare};;\n"
        'esac\necho "Welcome to $host"\nexec setsid --wait sh -c "$last"',
    )
