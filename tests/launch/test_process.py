from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.launch.process import module_command, module_environment, run_command, run_module

if TYPE_CHECKING:
    from pathlib import Path

WAITS = """
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: sys.exit(7))
open(sys.argv[1], "w").close()
time.sleep(30)
"""


def test_a_module_runs_with_this_interpreter_and_its_exit_code_comes_back() -> None:
    assert run_module("forge", ["--version"]) == 0
    assert run_module("forge", ["no-such-verb"]) == 2
    assert module_command("forge", ["ls"]) == [sys.executable, "-m", "forge", "ls"]


def test_the_current_folder_is_no_place_to_import_from(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    done = subprocess.run(
        [sys.executable, "-c", "import json"], cwd=tmp_path, env=module_environment({"A": "1"}), check=False
    )
    assert done.returncode == 0
    assert module_environment({"A": "1"})["A"] == "1"


TWO_AT_ONCE = """
import os, signal, subprocess, sys, threading, time
from forge.launch.process import wait_for
heard = []
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, lambda number, _: (heard.append(number), process.kill() if len(heard) == 2 else None))
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
def send():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
threading.Thread(target=send).start()
sys.exit(0 if wait_for(process) == -signal.SIGKILL else 1)
"""


def test_two_signals_at_once_are_heard_whichever_thread_they_come_to() -> None:
    """A wait without an end missed both of them in six of eight such processes."""
    running = [subprocess.Popen([sys.executable, "-c", TWO_AT_ONCE]) for _ in range(8)]
    assert [process.wait(timeout=30) for process in running] == [0] * 8


def test_death_by_a_signal_is_told_as_a_shell_does() -> None:
    kill = f"import os; os.kill(os.getpid(), {signal.SIGKILL})"
    assert run_command([sys.executable, "-c", kill]) == 128 + signal.SIGKILL


def test_who_wants_to_know_is_told_the_process(tmp_path: Path) -> None:
    told: list[int] = []
    program = "import os, sys; print(os.getpid(), os.getsid(0), file=open(sys.argv[1], 'w'))"
    assert run_command([sys.executable, "-c", program, str(tmp_path / "said")], begun=told.append) == 0
    pid, session = map(int, (tmp_path / "said").read_text().split())
    assert (told, session) == ([pid], os.getsid(0))
    run_command([sys.executable, "-c", program, str(tmp_path / "said")], own_session=True)
    pid, session = map(int, (tmp_path / "said").read_text().split())
    assert pid == session


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_process_decides(tmp_path: Path, sent: signal.Signals) -> None:
    ready = tmp_path / "ready"
    inner = [sys.executable, "-c", WAITS, str(ready)]
    program = f"from forge.launch.process import run_command; import sys; sys.exit(run_command({inner!r}))"
    outer = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if ready.exists():
                break
            time.sleep(0.05)
        os.kill(outer.pid, sent)
        assert outer.wait(timeout=20) == 7
    finally:
        outer.kill()
        outer.wait()


def test_what_is_told_to_a_terminal_that_is_gone_stops_nothing() -> None:
    program = (
        "import os, sys; from forge.launch.process import say; say('there'); os.close(2); say('gone'); print('on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "there\n")
