from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from forge.control.aborting import ABORT_GRACE, obeying_abort
from forge.control.processes import identity, is_alive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Until = Callable[..., None]

# In a call that no signal interrupts, with a child that hears nothing.
DEAF = """
import signal, subprocess, sys, time
from forge.control.aborting import obeying_abort
signal.signal(signal.SIGTERM, signal.SIG_IGN)
nap = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
print(nap.pid, flush=True)
with obeying_abort(sys.argv[1], lambda: False, kill=True):
    time.sleep(90)
"""


def test_the_file_is_a_signal(tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr("os.kill", lambda _, number: told.append(number))
    with obeying_abort(str(tmp_path), lambda: False):
        assert told == []
        (tmp_path / "ABORT").touch()
        until(lambda: told)
    assert told == [signal.SIGTERM]


def test_who_was_told_is_not_told_again_and_nobody_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    asked: list[bool] = []
    monkeypatch.setattr("os.kill", lambda _, number: told.append(number))
    with obeying_abort(str(tmp_path), lambda: True):
        pass
    with obeying_abort(str(tmp_path), lambda: asked.append(True) or True, kill=True):
        (tmp_path / "ABORT").touch()
        end = time.monotonic() + 20
        while not asked and time.monotonic() < end:
            time.sleep(0.01)
    time.sleep(0.1)
    assert (told, asked) == ([], [True])


def test_who_does_not_hear_it_is_ended_with_what_it_has_started(tmp_path: Path, until: Until) -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        nap = identity(int(process.stdout.readline()))
        assert process.pid != os.getpid()
        (tmp_path / "ABORT").touch()
        assert process.wait(ABORT_GRACE + 30) == -signal.SIGKILL
    until(lambda: not is_alive(nap))
