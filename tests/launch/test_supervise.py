"""A job in the background: it outlives who started it, and its end is known afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.control.jobs import wait_for_end
from forge.control.known import KnownJob, find_job
from forge.control.processes import end_family, identity, is_alive
from forge.control.register import Registration, register
from forge.launch.supervise import console_log, start_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAP = "import sys, time; print('begun', flush=True); print('oops', file=sys.stderr); time.sleep(60)"
# Starts the job of a run folder and ends at once, its terminal with it.
SHELL = """
import os, sys
from forge.control.register import register
from forge.launch.supervise import console_log, start_supervised
folder = sys.argv[1]
job = register(config="tiny", project="demo", overrides=[], run_folder=folder, console=console_log(folder))
print(start_supervised(folder, job).id, flush=True)
os.kill(0, 9)
"""


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., str]:
    """Makes a run folder whose run is this program."""

    def make(program: str, **environment: str) -> str:
        run = tmp_path / "run"
        run.mkdir()
        launch = {"command": [sys.executable, "-c", program], "environment": environment}
        (run / "launch.json").write_text(json.dumps(launch))
        return str(run)

    return make


@pytest.fixture
def begin() -> Iterator[Callable[[str], KnownJob]]:
    """Starts the run of a folder; what is left of it at the end is killed."""
    begun: list[KnownJob] = []

    def start(run: str) -> KnownJob:
        job = register(config="tiny", project="demo", overrides=[], run_folder=run, console=console_log(run))
        started = start_supervised(run, job)
        begun.append(find_job(started.id))
        assert begun[-1].record.process.pid == started.pid
        return begun[-1]

    yield start
    for job in begun:
        for who in filter(None, (job.record.process, job.record.keeper)):  # one that has ended has no keeper
            end_family(who, 0)


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_its_output_and_its_end_are_kept(folder: Callable[..., str], begin: Callable[[str], KnownJob]) -> None:
    run = folder(
        "import os, sys; print(os.environ['A'], os.getsid(0) == os.getpid()); sys.stderr.write('bad\\n'); sys.exit(5)",
        A="b",
    )
    done = wait_for_end(begin(run))
    assert (done.state, done.record.code) == ("failed", 5)
    assert sorted(Path(console_log(run)).read_text().splitlines()) == ["b True", "bad"]
    wait_until(lambda: not is_alive(done.record.keeper))


def test_it_outlives_the_shell_that_started_it(folder: Callable[..., str]) -> None:
    run = folder(NAP)
    shell = subprocess.Popen(
        [sys.executable, "-c", SHELL, run], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=os.getcwd()
    )
    assert shell.stdout is not None
    name = shell.stdout.readline().strip()
    assert shell.wait(timeout=20) == -signal.SIGKILL
    shell.stdout.close()
    job = find_job(name)
    assert job.running
    assert os.getsid(job.record.process.pid) != os.getsid(job.record.keeper.pid)
    wait_until(lambda: "begun" in Path(job.record.console).read_text())
    os.kill(job.record.process.pid, signal.SIGKILL)
    assert wait_for_end(job).how == "failed by SIGKILL"


def test_who_asks_the_supervisor_to_end_asks_the_job(
    folder: Callable[..., str], begin: Callable[[str], KnownJob]
) -> None:
    job = begin(folder(f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); {NAP}"))
    wait_until(lambda: "begun" in Path(job.record.console).read_text())
    os.kill(job.record.keeper.pid, signal.SIGTERM)
    assert wait_for_end(job).state == "stopped"


def test_it_is_small_and_leaves_torch_alone(folder: Callable[..., str], begin: Callable[[str], KnownJob]) -> None:
    job = begin(folder(NAP))
    maps = Path(f"/proc/{job.record.keeper.pid}/maps")
    if maps.exists():
        loaded = maps.read_text()
        assert not any(name in loaded for name in ("libtorch", "numpy", "hydra"))


def test_what_cannot_be_started_is_told(folder: Callable[..., str], begin: Callable[[str], KnownJob]) -> None:
    run = folder("")
    Path(run, "launch.json").write_text(json.dumps({"command": ["/no/such/program"], "environment": {}}))
    with pytest.raises(ToolError, match="could not be started"):
        begin(run)
    assert find_job("tiny-1").state == "failed"
    assert "/no/such/program" in Path(console_log(run)).read_text()


def test_without_a_record_it_runs_all_the_same(folder: Callable[..., str]) -> None:
    run = folder("print('done')")
    started = start_supervised(run, Registration(""))
    assert started.id == ""
    wait_until(lambda: Path(console_log(run)).read_text() == "done\n")
    wait_until(lambda: identity(started.pid) is None)
