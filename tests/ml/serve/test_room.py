from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.ml.serve import room

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_memory_that_files_hold_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemFree: 5 kB\nMemAvailable: 300 kB\n")
    monkeypatch.setattr(room, "_MEMORY", str(tmp_path / "meminfo"))
    assert room.free_memory() == 300 << 10


def test_a_system_that_does_not_tell_is_asked_for_what_nothing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MEMORY", "/no/such/file")
    assert 0 < room.free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
