from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError
from forge.base.locks import claim, open_locked

if TYPE_CHECKING:
    from pathlib import Path


def test_a_claim_has_one_owner_and_says_who(tmp_path: Path) -> None:
    held = claim(tmp_path / "lock", "me")
    assert held is not None
    assert (tmp_path / "lock").read_text() == "me"
    assert claim(tmp_path / "lock") is None
    began = time.monotonic()
    assert claim(tmp_path / "lock", wait=0.05) is None
    assert 0.05 <= time.monotonic() - began < 5
    held.release()
    held.release()
    again = claim(tmp_path / "lock", "it")
    assert again is not None
    assert (tmp_path / "lock").read_text() == "it"
    again.release()


def test_a_claim_ends_with_its_process_and_is_not_inherited(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from forge.base.locks import claim\n"
        "held = claim(sys.argv[1])\n"
        "if os.fork():\n    time.sleep(0.5)\n    os._exit(0)\n"
        "time.sleep(3)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")])
    assert process.wait(60) == 0
    held = claim(tmp_path / "lock")
    assert held is not None
    held.release()


def test_a_shared_claim_has_several_owners_and_none_alone(tmp_path: Path) -> None:
    one, other = claim(tmp_path / "lock", "one", shared=True), claim(tmp_path / "lock", None, shared=True)
    assert one is not None
    assert other is not None
    assert (tmp_path / "lock").read_text() == "one"
    one.release()
    assert claim(tmp_path / "lock") is None
    other.release()
    alone = claim(tmp_path / "lock", None)
    assert alone is not None
    assert claim(tmp_path / "lock", shared=True) is None
    alone.release()


def test_a_lock_file_that_its_owner_removes_is_not_taken_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    owner = claim(path)
    assert owner is not None
    waits: list[float] = []

    def remove_it(seconds: float) -> None:
        waits.append(seconds)
        path.unlink()
        owner.release()

    monkeypatch.setattr(time, "sleep", remove_it)
    held = claim(path, wait=5)
    assert held is not None
    assert len(waits) == 1
    assert claim(path) is None  # the file that is there now is the one that is held
    held.release()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("missing/lock", "link", "nul\0"):
        with pytest.raises(FileError, match="cannot write"):
            claim(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_file_on_a_full_disk_is_a_lock_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    held = claim(tmp_path / "lock", "me")
    assert held is not None
    held.release()


def test_a_file_is_locked_while_it_is_open(tmp_path: Path) -> None:
    handle = open_locked(tmp_path / "lines", time.monotonic())
    assert handle is not None
    assert open_locked(tmp_path / "lines", time.monotonic() + 0.02) is None
    os.close(handle)
    again = open_locked(tmp_path / "lines", time.monotonic())
    assert again is not None
    os.close(again)
