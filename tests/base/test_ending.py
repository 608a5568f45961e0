"""How programs of forge end when a signal asks them to: by a process of its own for each, for signals are a process's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.control.processes import identity

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, sys, time
from forge.base.ending import run_program

def main(arguments):
    what, mark = arguments
    if what == "code":
        return 3
    try:
        print("begun", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        if what == "library":
            raise ImportError("half imported")
        raise
    finally:
        print("tidying up", flush=True)
        if what == "long":
            time.sleep(30)
        open(mark, "w").close()

run_program(main)
"""


def _begun(what: str, mark: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, str(mark)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_program_that_is_done_ends_with_its_code(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "code", str(tmp_path / "mark")], check=False)
    assert done.returncode == 3


TELLS = """
import sys
from forge.base.ending import run_program

def main(arguments):
    sys.stdout.write("figures")
    return 0

run_program(main)
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_output_that_cannot_be_written_is_an_error_of_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", TELLS], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_a_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", TELLS], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("what", ["plain", "library"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_it_without_a_word(tmp_path: Path, sent: signal.Signals, what: str) -> None:
    process = _begun(what, tmp_path / "mark")
    process.send_signal(sent)
    said = process.communicate(timeout=20)
    assert (process.returncode, *said) == (128 + sent, "tidying up\n", "")
    assert (tmp_path / "mark").exists()


def test_what_comes_twice_within_a_moment_is_one_request_and_later_another(tmp_path: Path) -> None:
    process = _begun("long", tmp_path / "mark")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "tidying up\n"
    process.send_signal(signal.SIGINT)  # as the terminal sends it and the process that started this one
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.8)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)
    assert (process.returncode, *said) == (-signal.SIGINT, "", "")
    assert not (tmp_path / "mark").exists()


def test_what_was_ignored_from_the_start_stays_so(tmp_path: Path) -> None:
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{PROGRAM}"
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring, "plain", str(tmp_path / "mark")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], start_new_session=True)
print(child.pid, file=sys.stderr, flush=True)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_the_end_of_its_parent_unwinds_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, PROGRAM, "plain", str(mark)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stderr is not None
    with parent.stdout, parent.stderr:
        child = int(parent.stderr.readline())
        assert parent.stdout.readline() == "begun\n"
        parent.kill()
        parent.wait()
        assert parent.stdout.read() == "tidying up\n"
    end = time.monotonic() + 20
    while identity(child) is not None:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert mark.exists()
