from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.control.known import find_job
from forge.control.record import change_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    After = Callable[[str, Callable[[], None]], None]
    Begin = Callable[..., Path]
    Until = Callable[[Callable[[], object]], None]


def test_without_a_job(run: Run) -> None:
    done = run("attach")
    assert (done.code, done.errors.splitlines()[0]) == (2, "error: no job is running")


@pytest.mark.parametrize("words", [["attach"], ["logs", "-f"], ["stop"], ["save"]], ids=" ".join)
def test_ctrl_c_leaves_the_job_alone(begin: Begin, until: Until, environment: dict[str, str], words: list[str]) -> None:
    begin()
    job = find_job()
    if words[0] in {"stop", "save"}:
        os.kill(job.record.process.pid, signal.SIGSTOP)  # so that there is something to wait for
    shell = subprocess.Popen(
        [sys.executable, "-m", "forge", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if words[0] == "save":
        until(lambda: os.path.exists(os.path.join(job.record.run, "SAVE")))
    else:
        assert (shell.stdout if words[0] == "logs" else shell.stderr).readline()
    time.sleep(0.1)
    shell.send_signal(signal.SIGINT)
    _, errors = shell.communicate(timeout=20)
    assert shell.returncode == 0
    assert job.id in errors
    assert "Traceback" not in errors
    os.kill(job.record.process.pid, signal.SIGCONT)
    assert words[0] == "stop" or find_job().running


def test_attach_ends_with_the_job_and_its_code(run: Run, begin: Begin, after: After) -> None:
    folder = begin()
    after("forge.control.follow.last_lines", (folder / "GO").touch)
    done = run("attach")
    assert done.code == 0
    assert done.out.splitlines()[1] == "bye"
    assert "Ctrl-C detaches, and does not stop tiny-1" in done.errors
    assert "tiny-1 finished" in done.errors
    change_record("tiny-1", code=3)
    assert run("attach", "tiny-1").code == 3
    assert "Ctrl-C" not in run("attach", "tiny-1").errors


def test_attach_on_a_terminal_shows_a_bar_and_nothing_that_a_job_does_to_a_terminal(
    begin: Begin, environment: dict[str, str]
) -> None:
    folder = begin()
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-m", "forge", "attach"],
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"5/300" not in shown:
            shown += os.read(ours, 65536)
        (folder / "GO").touch()
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(ours)
    assert shell.wait(timeout=20) == 0
    text = shown.decode()
    assert "hello" in text
    assert "loss 2.5000" in text
    assert "\x1b[2J" not in text
    assert "tiny-1 finished" in text
