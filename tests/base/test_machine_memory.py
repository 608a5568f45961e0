from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base import machine_memory as memory
from forge.base.machine_memory import MachineMemory, free_memory, machine_memory, memory_limit, system_text

if TYPE_CHECKING:
    from pathlib import Path


def test_memory_that_files_hold_is_free(tmp_path: Path) -> None:
    (tmp_path / "told").write_text("MemTotal: 900 kB\nMemFree: 5 kB\nMemAvailable: 300 kB\nHugePages_Total: 0\nx\n")
    assert machine_memory(str(tmp_path / "told")) == MachineMemory(900 << 10, 300 << 10)
    assert machine_memory(str(tmp_path / "missing")) == MachineMemory(None, None)


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "700\n", "a/b/memory.max": "max\n", "memory.max": "900\n"}, 700),
        ("4:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": "500\n"}, 500),
        ("4:cpu,memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("3:cpu:/\n", {"memory/memory.limit_in_bytes": "5\n"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_of_a_control_group(tmp_path: Path, own: str, files: dict[str, str], limit: int | None) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_limit(str(tmp_path), str(tmp_path / "own")) == limit


@pytest.mark.parametrize(("limit", "free"), [(None, 300), (200, 200), (400, 300)])
def test_no_more_is_free_than_the_control_group_may_use(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, free: int
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: MachineMemory(900, 300))
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    assert free_memory() == free


def test_a_system_that_does_not_tell_is_asked_for_what_nothing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: MachineMemory(None, None))
    assert 0 < free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_the_system_does_not_say_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "told").write_bytes(b"max\n\xff")
    assert system_text(str(tmp_path / "told")) == "max\n�"
    assert system_text(str(tmp_path / "missing")) == ""
