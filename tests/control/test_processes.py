from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.control import processes
from forge.control.processes import Identity, end_family, family, identity, is_alive, resident_bytes, started_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAP = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
# A parent that ends, a child that stays in its group, and one that leaves the group as long as the parent is there.
FAMILY = """
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
children = [
    subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE),
    subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True),
]
for child in children:
    child.stdout.readline()
print(*[child.pid for child in children], flush=True)
time.sleep(60)
"""


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program, and waits for its first line."""
    running: list[subprocess.Popen[str]] = []

    def start(command: list[str], **how: bool) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **how)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def who(pid: int) -> Identity:
    found = identity(pid)
    assert found is not None
    return found


@pytest.fixture(params=["proc", "ps"])
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same questions answered from /proc, and from ps as where there is no /proc."""
    if request.param == "ps":
        monkeypatch.setattr(processes, "_has_proc", lambda: False)
    return str(request.param)


@pytest.mark.usefixtures("table")
def test_a_process_is_known_by_its_number_and_its_beginning(started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started(NAP)
    found = who(process.pid)
    assert is_alive(found)
    assert not is_alive(Identity(process.pid, "another time"))  # the number was given to somebody else
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(found)  # nobody has asked yet how it ended: it is a zombie
    process.wait()
    assert not is_alive(found)
    assert not is_alive(None)


@pytest.mark.usefixtures("table")
def test_a_family_is_all_that_a_process_has_started(started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started([sys.executable, "-c", FAMILY], start_new_session=True)
    assert process.stdout is not None
    children = {who(int(word)) for word in process.stdout.readline().split()}
    root = who(process.pid)
    assert family([root]) == {root, *children}
    assert family([]) == set()
    assert who(os.getpid()) not in family([root])
    assert end_family(root, 0.2) == set()
    assert not any(map(is_alive, children))


def test_a_child_that_is_left_alone_still_belongs_to_the_group(started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started([sys.executable, "-c", FAMILY], start_new_session=True)
    assert process.stdout is not None
    inside, outside = (who(int(word)) for word in process.stdout.readline().split())
    root = who(process.pid)
    process.kill()
    process.wait()
    assert family([root]) == {inside}
    stranger = Identity(os.getpid(), "another time")  # a leader whose number is somebody else's now
    assert family([stranger]) == set()
    assert end_family(root, 0.1) == set()
    assert not is_alive(inside)
    os.kill(outside.pid, signal.SIGKILL)


def test_who_ends_when_asked_is_not_killed(started: Callable[..., subprocess.Popen[str]]) -> None:
    tidy = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(flush=True); time.sleep(60)"
    process = started([sys.executable, "-c", tidy])
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)  # one that is stopped hears it too
    began = time.monotonic()
    assert end_family(who(process.pid), 20) == set()
    assert time.monotonic() - began < 10
    assert process.wait() == 7


def test_both_ways_to_look_agree(
    monkeypatch: pytest.MonkeyPatch, started: Callable[..., subprocess.Popen[str]]
) -> None:
    process = started(NAP)
    rows = [row for row in processes._all_rows() if row.who.pid == process.pid]
    monkeypatch.setattr(processes, "_has_proc", lambda: False)
    others = [row for row in processes._all_rows() if row.who.pid == process.pid]
    assert [(row.who.pid, row.parent, row.group) for row in rows] == [
        (row.who.pid, row.parent, row.group) for row in others
    ]
    assert identity(process.pid) == others[0].who


def test_the_memory_of_a_process() -> None:
    own = identity(os.getpid())
    assert own is not None
    assert resident_bytes(own) > 1_000_000
    assert resident_bytes(own._replace(start="long ago")) is None
    assert resident_bytes(own._replace(pid=2**22 + 1)) is None


def test_what_a_process_was_started_with() -> None:
    own = identity(os.getpid())
    assert own is not None
    assert started_with(own, "PATH") in {os.environ["PATH"], ""}
    assert started_with(own, "NO_SUCH_VARIABLE") == ""
    assert started_with(own._replace(start="long ago"), "PATH") == ""


def test_who_has_started_others_hears_a_signal_before_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(processes, "is_alive", lambda _: True)
    monkeypatch.setattr(processes, "_held", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(os, "kill", lambda pid, _: told.append(pid))
    processes._send({Identity(30, "boot:100"), Identity(20, "boot:99"), Identity(7, "boot:1000")}, signal.SIGTERM)
    assert told == [20, 30, 7]
