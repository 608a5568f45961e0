from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.launch.exit_codes import note_exit_codes, noted_exit_code

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children of a process are listed in /proc")

# A parent that asks five times as often as torchrun how its children ended, and one of whose children has children of its own.
PARENT = """\
import os, signal, subprocess, sys, time
from forge.launch.exit_codes import note_exit_codes

note_exit_codes(sys.argv[1])
codes = ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(7)", ""]
started = [subprocess.Popen([sys.executable, "-S", "-c", code]) for code in codes * 4]
if not (child := os.fork()):
    subprocess.run(["true"])
    os._exit(5)
print(child, 5, flush=True)
while None in [one.poll() for one in started]:
    time.sleep(0.02)
while os.waitpid(child, os.WNOHANG) == (0, 0):
    time.sleep(0.02)
for one in started:
    print(one.pid, one.returncode)
"""


def test_it_is_noted_before_the_parent_asks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    ended = {int(pid): int(code) for pid, code in map(str.split, done.stdout.splitlines())}
    assert sorted(set(ended.values())) == [-signal.SIGKILL, 0, 5, 7]
    assert {pid: noted_exit_code(str(tmp_path), pid) for pid in ended} == ended
    # Each of them, twice where another signal came in the middle, and none of a child's children.
    noted = set((tmp_path / "exit-codes.txt").read_text().splitlines())
    assert len(noted) == len(ended) == 13


def test_nothing_is_imported_when_a_signal_comes(tmp_path: Path) -> None:
    """A signal may come while a module is being imported, and whoever imports it again then gets half of it."""
    program = """\
import subprocess, sys
from forge.launch.exit_codes import note_exit_codes
note_exit_codes(sys.argv[1])
import signal
before = set(sys.modules)
signal.getsignal(signal.SIGCHLD)()
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_of_a_number_that_is_used_again_the_last_one_counts(tmp_path: Path) -> None:
    (tmp_path / "exit-codes.txt").write_text("12 1\n123 4\n12 -9\n")
    assert noted_exit_code(str(tmp_path), 12) == -9
    assert noted_exit_code(str(tmp_path), 3) is None
    assert noted_exit_code(str(tmp_path / "nowhere"), 12) is None


def test_a_folder_that_is_gone_keeps_no_parent_from_asking(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    try:
        note_exit_codes(str(tmp_path / "gone"))
        assert subprocess.run([sys.executable, "-S", "-c", "raise SystemExit(3)"], check=False).returncode == 3
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert os.listdir(tmp_path) == []
