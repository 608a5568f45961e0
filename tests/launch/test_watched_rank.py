from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from forge.control.heartbeat import Beat
from forge.control.processes import identity
from forge.launch.rank_facts import GONE
from forge.launch.watched_rank import WatchedRank

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="how a process ended is read from /proc")


def rank_of(pid: int, folder: str = "") -> WatchedRank:
    """A process as the rank that has said of itself that it is in its third step."""
    who = identity(pid)
    assert who is not None
    return WatchedRank(Beat(0, 1, 0, 1, "hal", who, 0, 0, 3, 7, 0.0, 60.0, False, None, "data", ""), folder)


@pytest.mark.parametrize(
    ("how", "code", "abnormal"),
    [("kill", -signal.SIGKILL, True), ("term", -signal.SIGTERM, False), ("done", 0, False), ("fail", 1, True)],
)
def test_how_it_ended(until: Until, how: str, code: int, *, abnormal: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.exit(int(sys.stdin.read()))"], stdin=subprocess.PIPE
    )
    rank = rank_of(process.pid)
    assert (rank.alive, rank.look(), rank.abnormal) == (True, False, False)
    assert rank.facts("").state in {"R", "S", "D"}
    if how in {"kill", "term"}:
        os.kill(process.pid, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(b"0" if how == "done" else b"1")
        process.stdin.close()
    until(rank.look)
    assert (rank.alive, rank.code, rank.abnormal) == (False, code, abnormal)
    found = rank.facts("")
    assert (found.state, found.step) == (GONE, 3)
    process.wait()


def test_how_it_ended_is_noted_where_its_parent_has_asked(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    rank, other = rank_of(process.pid, str(tmp_path)), rank_of(process.pid, "/nowhere")
    process.kill()
    process.wait()
    (tmp_path / "exit-codes.txt").write_text(f"{process.pid} -9\n")
    assert rank.look()
    assert rank.code == -signal.SIGKILL
    assert other.look()
    assert other.code is None


# A parent waits for a child that it has made so until the child is another program: in a call that cannot be interrupted.
BLOCKED = "import os, sys; os.posix_spawn('/bin/true', ['true'], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]); input()"


def test_a_wait_of_the_system_that_is_over_is_none(until: Until, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, "-S", "-c", BLOCKED, str(pipe)], stdin=subprocess.PIPE)
    rank = rank_of(process.pid)
    until(lambda: rank.facts("").state == "D")
    rank.note_state()
    assert (rank.asked, rank.facts("").state) == ("D", "D")
    pipe.write_bytes(b"")
    until(lambda: rank.facts("").state == "S")
    process.communicate(b"\n")
    rank.close()


def test_its_state_is_that_before_it_was_asked() -> None:
    rank = rank_of(os.getpid())
    rank.note_state()
    assert rank.asked in {"R", "S"}
    assert rank.facts("").state == rank.asked
    rank.close()
    rank.close()
    assert rank.handle is None
