"""Ranks that die, hang or lose their numbers, as those are seen who look after them: stand-ins here, real runs in `test_real_watchdog`."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.control.heartbeat import HEARTBEATS
from forge.control.processes import identity
from forge.launch.watchdog import STACKS, Watchdog

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Start, Until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="how a process is, and how it ended, is read from /proc"
)


def _pids(run: Path) -> list[int]:
    texts = [file.read_text() for file in run.glob("rank-*.json")]
    return [int(json.loads(text)["pid"]) for text in texts if text]


@pytest.mark.parametrize(
    ("how", "title", "first_line"),
    [
        ("hang", "casualty: rank 1 hangs", "go_wrong (tests/launch/standin.py:"),
        ("stopped", "casualty: rank 1 hangs: a signal has stopped it (SIGSTOP)", "go_wrong (tests/launch/standin.py:"),
        ("killed", "casualty: rank 1 died: killed by SIGKILL", "no stack: it was gone at once"),
        ("blamed", "casualty: rank 1 failed: ArithmeticError: the loss is nan", "go_wrong (tests/launch/standin.py:"),
        ("die", "casualty: rank 1 failed: exit code 1", "no stack: it was gone at once"),
    ],
)
def test_the_rank_is_named_and_nobody_is_left(start: Start, run: Path, how: str, title: str, first_line: str) -> None:
    process = start(how=how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert all(identity(pid) is None for pid in _pids(run))
    text = (run / "casualty.txt").read_text()
    lines = text.splitlines()
    assert lines[0].startswith(title)
    assert lines[lines.index("rank 1, innermost call first") + 1].strip().startswith(first_line)
    assert "the run is ended" in text
    assert text in errors
    assert f"{lines[0]}; see " in errors.splitlines()[-1]
    assert sorted(file.name for file in (run / "logs" / "casualty-1").iterdir()) == [
        "node-0.json",
        "rank-0.txt",
        "rank-1.txt",
    ]
    if how in {"hang", "stopped"}:
        assert "rank 0, innermost call first\n  go_wrong (tests/launch/standin.py:" in text


@pytest.mark.slow
def test_a_rank_that_is_done_while_others_wait_is_named(start: Start, run: Path) -> None:
    start(how="ended").communicate(timeout=60)
    assert "casualty: rank 1 ended after step 1, and rank 0 still wait" in (run / "casualty.txt").read_text()


def test_what_comes_further_does_not_hang(start: Start, run: Path, until: Until) -> None:
    process = start(how="behind", PATIENCE="3600")
    until(lambda: len(_pids(run)) == 2)
    time.sleep(2)
    assert process.poll() is None
    (run / "ABORT").touch()
    assert process.wait(timeout=30) == 130
    assert not (run / "casualty.txt").exists()


@pytest.mark.parametrize(("how", "asked"), [("wait", signal.SIGTERM), ("0", None), ("2", None)])
def test_an_end_that_was_asked_for_is_no_casualty(
    start: Start, run: Path, until: Until, how: str, asked: signal.Signals | None
) -> None:
    process = start(how=how)
    if asked is not None:
        until(lambda: len(_pids(run)) == 2)
        process.send_signal(asked)
    process.communicate(timeout=60)
    assert not (run / "casualty.txt").exists()
    assert not (run / "logs" / "casualty-1").exists()


def test_what_the_processes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "PET_MAX_RESTARTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(HEARTBEATS, "/of/another/run")
    watchdog = Watchdog(str(tmp_path), print)
    fresh = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    once = watchdog.environment(["torchrun", "--nnodes=2", "--max-restarts", "0"])
    assert fresh not in once
    assert once[HEARTBEATS] != "/of/another/run"
    assert once["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "5"
    for words in (["--max-restarts", "3"], ["--max_restarts=1"], ["--nnodes=1:4"], ["--nnodes", "1:2"]):
        assert watchdog.environment(["torchrun", *words])[fresh] == "1"
    monkeypatch.setenv("PET_MAX_RESTARTS", "2")
    assert watchdog.environment([])[fresh] == "1"
    watchdog.start(None)
    watchdog.stop()
    assert STACKS is signal.SIGUSR2


def test_a_disk_that_is_full_keeps_no_run_from_beginning(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("forge.launch.watchdog.write_temporary", full)
    said: list[str] = []
    watchdog = Watchdog(str(run), said.append)
    assert watchdog.environment([])[HEARTBEATS] == ""
    watchdog.start(None)
    watchdog.stop()
    assert said == ["warning: nobody will see when a rank dies or hangs: [Errno 28] no space left"]


def test_that_the_agent_was_killed_is_said(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait")
    until(lambda: len(_pids(run)) == 2)
    time.sleep(1)
    with open(f"/proc/{_pids(run)[0]}/stat", encoding="ascii") as file:
        agent = int(file.read().rsplit(")", 1)[1].split()[1])
    os.kill(agent, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1] == "casualty: what had started the ranks is gone, and they with it"
    assert not (run / "casualty.txt").exists()


def test_what_a_rank_has_left_behind_is_ended_before_the_next_attempt(start: Start, run: Path) -> None:
    process = start(how="leaves")
    process.communicate(timeout=60)
    assert identity(int((run / "child-1").read_text())) is None
    assert "killed by SIGKILL" in (run / "casualty.txt").read_text()


@pytest.mark.torch
def test_torchrun_is_heard_in_a_line_where_there_is_no_page(start: Start) -> None:
    process = start("--standalone", "--nproc-per-node=1", how="0", module="no_such_module")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No module named no_such_module" in errors
    assert "ChildFailedError" not in errors
    assert errors.splitlines()[-1].startswith(
        ("torchrun: rank 0 was the first to end: exit code 1", "casualty: rank 0")
    )


def test_where_no_rank_begins_it_is_said_what_torchrun_waits_for(
    run: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.launch.watchdog._MET", 0.1)
    said: list[str] = []
    commands = [["--nnodes", "2:4", "--rdzv-endpoint", "hal:29400"], ["--nnodes=1"]]
    dogs = [Watchdog(str(run), said.append) for _ in commands]
    for dog, command in zip(dogs, commands, strict=True):
        dog.environment(command)
        dog.start(None)
    until(lambda: said)
    for dog in dogs:
        dog.stop()
    assert said == ["no rank has begun within 0 seconds: torchrun waits until at least 2 of 4 nodes are at hal:29400"]
