"""Jobs for the verbs that look after them: real processes that need no torch."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from forge.control.known import known_jobs
from forge.control.processes import end_family
from forge.control.progress import RunProgress, write_progress
from forge.control.record import change_record, job_records
from forge.control.register import register
from forge.launch.supervise import console_log, start_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    After: TypeAlias = Callable[[str, Callable[[], None]], None]
    Begin: TypeAlias = Callable[..., Path]
    Past: TypeAlias = Callable[..., str]
    Until: TypeAlias = Callable[[Callable[[], object]], None]

JOB = """
import os, sys, time
from forge.control.requests import SaveAnswer, write_answers
run = sys.argv[1]
print("hello", "\\x1b[2J", flush=True)
for step in range(6000):
    if os.path.exists(os.path.join(run, "GO")):
        print("bye", flush=True)
        sys.exit(0)
    if os.path.exists(os.path.join(run, "SAVE")):
        os.replace(os.path.join(run, "SAVE"), os.path.join(run, "taken"))
        write_answers(run, [SaveAnswer(open(os.path.join(run, "taken")).read(), 7, os.path.join(run, "checkpoint-7"))])
    if os.path.exists(os.path.join(run, "STOP")):
        sys.exit(3)
    time.sleep(0.01)
"""


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def _ends_a_line(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read().endswith(b"\n")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a verb starts in place of a module, which then ends with code 3."""
    calls: list[Any] = []

    def run_module(module: str, arguments: Sequence[str] = ()) -> int:
        calls.append((module, *arguments))
        return 3

    monkeypatch.setattr("forge.launch.process.run_module", run_module)
    return calls


@pytest.fixture
def until() -> Until:
    """Waits until something is so."""
    return _until


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> After:
    """Does something as soon as a verb has called a function: what it had to find before, it has found."""

    def do(function: str, action: Callable[[], None]) -> None:
        module, _, name = function.rpartition(".")
        original = getattr(import_module(module), name)

        def called(*arguments: object) -> object:
            result = original(*arguments)
            action()
            return result

        monkeypatch.setattr(function, called)

    return do


@pytest.fixture
def past(environment: dict[str, str]) -> Past:
    """Enters a job that has ended; its id."""
    assert environment

    def make(code: int | None = 0, **changes: object) -> str:
        job = register(config="a/tiny", project="demo", overrides=[], run_folder="/runs/x")
        job.ended(code)
        change_record(job.id, **changes)
        return job.id

    return make


@pytest.fixture
def begin(project: Path, environment: dict[str, str]) -> Iterator[Begin]:
    """Starts a job in the background; its run folder."""
    assert environment

    def start() -> Path:
        folder = project / f"run-{len(known_jobs())}"
        folder.mkdir()
        command = [sys.executable, "-c", JOB, str(folder)]
        (folder / "launch.json").write_text(json.dumps({"command": command, "environment": {}}))
        write_progress(str(folder), RunProgress(5, 300, 2.5, 9.0))
        console = console_log(str(folder))
        job = register(config="tiny", project="demo", overrides=["a=1"], run_folder=str(folder), console=console)
        start_supervised(str(folder), job)
        _until(lambda: _ends_a_line(console))
        return folder

    yield start
    for record in job_records():
        for who in (record.process, record.keeper):
            if who is not None and who.pid != os.getpid():
                end_family(who, 0)
