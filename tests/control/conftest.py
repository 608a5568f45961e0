"""Runs without torch: small programs that are started, registered and asked as a training run is."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.control.known import KnownJob, find_job
from forge.control.processes import end_family
from forge.control.record import read_record
from forge.control.register import register
from forge.launch.supervise import console_log, start_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    Start: TypeAlias = Callable[..., KnownJob]

# Takes steps as a trainer does: prints them, looks for STOP, ends with the trainer's codes.
STEPS = """
import json, os, signal, subprocess, sys, time
run, how = sys.argv[1], sys.argv[2:]
if "deaf" in how:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "children" in how:
    nap = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"]
    subprocess.Popen(nap)
    subprocess.Popen(nap, start_new_session=True)
for step in range(1, 3001):
    with open(os.path.join(run, ".progress"), "w") as file:
        json.dump({"step": step, "total": 3000, "loss": 1 / step, "tokens_per_second": 7.0}, file)
    os.replace(file.name, os.path.join(run, "progress.json"))
    print("step", step, "é", flush=True)
    if "short" in how and step == 3:
        sys.exit(int(how[-1]))
    if os.path.exists(os.path.join(run, "STOP")):
        sys.exit(3)
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until something is so."""

    def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.01)

    return wait


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts a program with its words as a job in the background, and returns the job; whatever is left is killed at the end."""
    started: list[str] = []

    def start(*words: str, config: str = "pretrain/tiny", program: str = STEPS) -> KnownJob:
        folder = tmp_path / f"run-{len(started)}"
        folder.mkdir()
        command = [sys.executable, "-c", program, str(folder), *words]
        (folder / "launch.json").write_text(json.dumps({"command": command, "environment": {}}))
        registered = register(
            config=config, project="demo", overrides=["a=1"], run_folder=str(folder), console=console_log(str(folder))
        )
        started.append(registered.id)
        start_supervised(str(folder), registered)
        return find_job(registered.id)

    yield start
    for id_ in started:
        record = read_record(id_)
        for who in (record.process, record.keeper) if record is not None else ():
            if who is not None and who.pid != os.getpid():
                end_family(who, 0)
