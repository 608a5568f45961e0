from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from forge.base.free_space import free_space

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_room_of_a_disk(tmp_path: Path) -> None:
    room = free_space(tmp_path)
    assert room is not None
    assert abs(room - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_what_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_space(tmp_path / "gone") is None
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255)))
    assert free_space(tmp_path) is None
