"""Sweeps of small programs that end as they are told, without torch."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, UsageError
from forge.control.known import FACTS, find_job, known_jobs
from forge.control.processes import end_family
from forge.control.record import job_records
from forge.control.register import register
from forge.launch import sweep as module
from forge.launch.supervise import console_log, start_supervised
from forge.launch.sweep import Member, Sweep, carry_on, open_sweep, planned_members, sweep_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = """
import os, sys, time
run, how = sys.argv[1:]
print("error: it went wrong" if how == "1" else "well", flush=True)
while how == "wait":
    if os.path.exists(os.path.join(run, "STOP")):
        sys.exit(3)
    time.sleep(0.01)
sys.exit(int(how))
"""
ABOUT = {"config": "tiny", "project": "demo", "overrides": [], "axes": {"lr": ["1", "2", "3"]}}


class Line:
    """Starts the runs of a sweep, each of which ends as its value of ``lr`` says in `how`."""

    def __init__(self, **how: str) -> None:
        self.how = how
        self.begun: list[tuple[str, int]] = []
        self.said: list[str] = []
        self.at_once = 0

    def begin(self, member: Member, place: int) -> str:
        self.begun.append((member.name, place))
        self.at_once = max(self.at_once, sum(job.running for job in known_jobs()) + 1)
        folder = Path(member.output, "runs", f"{len(known_jobs())}")
        folder.mkdir(parents=True)
        command = [sys.executable, "-c", PROGRAM, str(folder), self.how.get(f"lr{member.values['lr']}", "0")]
        (folder / "launch.json").write_text(json.dumps({"command": command, "environment": {}}))
        (folder / FACTS).write_text(json.dumps({"config": "tiny", "project": "demo", "overrides": []}))
        console = console_log(str(folder))
        job = register(config="tiny", project="demo", overrides=[], run_folder=str(folder), console=console)
        start_supervised(str(folder), job)
        return str(folder)

    def carry_on(self, sweep: Sweep, **how: Any) -> bool:
        return carry_on(sweep, self.begin, lambda job: {"code": job.record.code}, say=self.said.append, **how)


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    yield
    for record in job_records():
        for who in (record.process, record.keeper):
            if who is not None and who.pid != os.getpid():
                end_family(who, 0)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """The sweep of three runs, opened again each time."""
    sweeps: list[Sweep] = []

    def again() -> Sweep:
        for sweep in sweeps:
            sweep.close()
        sweeps.append(open_sweep(str(tmp_path / "sweep"), ABOUT, [{"lr": "1"}, {"lr": "2"}, {"lr": "3"}]))
        return sweeps[-1]

    yield again
    sweeps[-1].close()


def states(sweep: Sweep) -> list[str]:
    return [member.state for member in sweep.members]


def test_runs_come_one_after_another_and_are_written_down(opened: Callable[..., Sweep]) -> None:
    line, sweep = Line(), opened()
    assert line.carry_on(sweep)
    assert [name for name, _ in line.begun] == ["000-lr=1", "001-lr=2", "002-lr=3"]
    assert line.at_once == 1
    written = json.loads(Path(sweep.folder, "sweep.json").read_text())
    assert {**written, "runs": 0} == {**ABOUT, "runs": 0}
    assert [(one["state"], one["figures"]) for one in written["runs"]] == [("finished", {"code": 0})] * 3
    assert line.said[0].startswith("[1/3] 000-lr=1: started, ")
    assert line.said[1].startswith("[1/3] tiny-1 finished after ")


def test_what_is_finished_is_not_run_again(opened: Callable[..., Sweep]) -> None:
    first = Line(lr2="1")
    assert not first.carry_on(opened(), keep_going=True)
    second, sweep = Line(), opened()
    assert states(sweep) == ["finished", "failed", "finished"]
    assert second.carry_on(sweep)
    assert second.begun == [("001-lr=2", 0)]


def test_the_first_failure_ends_it(opened: Callable[..., Sweep]) -> None:
    line, sweep = Line(lr2="1"), opened()
    assert not line.carry_on(sweep)
    assert states(sweep) == ["finished", "failed", "waiting"]
    assert line.said[-1].startswith("[2/3] tiny-2 failed with exit code 1")
    assert line.said[-1].endswith("\n  error: it went wrong")


def test_it_may_go_on_behind_a_failure(opened: Callable[..., Sweep]) -> None:
    line, sweep = Line(lr1="1"), opened()
    assert not line.carry_on(sweep, keep_going=True)
    assert states(sweep) == ["failed", "finished", "finished"]


def test_some_run_at_once_each_in_its_place(opened: Callable[..., Sweep]) -> None:
    line, sweep = Line(), opened()
    assert line.carry_on(sweep, most=2)
    assert line.begun[:2] == [("000-lr=1", 0), ("001-lr=2", 1)]
    assert {place for _, place in line.begun} == {0, 1}
    assert line.at_once <= 2


def test_an_interrupt_stops_what_runs_and_the_next_time_goes_on(
    opened: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "time", SimpleNamespace(sleep=interrupt))
        line, sweep = Line(lr1="wait"), opened()
        assert not line.carry_on(sweep)
    assert states(sweep) == ["stopped", "waiting", "waiting"]
    assert Line().carry_on(opened())


def test_an_interrupt_while_a_run_is_being_started_leaves_none_behind(opened: Callable[..., Sweep]) -> None:
    class Interrupted(Line):
        def begin(self, member: Member, place: int) -> str:
            folder = super().begin(member, place)
            os.kill(os.getpid(), signal.SIGINT)  # it runs, and nobody else knows of it yet
            time.sleep(0.05)
            return folder

    line, sweep = Interrupted(lr1="wait"), opened()
    assert not line.carry_on(sweep)
    assert states(sweep) == ["stopped", "waiting", "waiting"]
    assert not [job for job in known_jobs() if job.running]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_of_a_sweep_that_is_gone_is_waited_for(opened: Callable[..., Sweep]) -> None:
    line, sweep = Line(lr1="wait"), opened()
    member = sweep.members[0]
    member.run, member.state = line.begin(member, 0), "running"
    sweep.save()
    again = Line()
    later = opened()
    Path(member.run, "STOP").touch()
    again.carry_on(later, keep_going=True)
    assert later.members[0].state in {"stopped", "finished"}
    assert find_job("tiny-1").state == "stopped"


def test_one_process_at_a_time_carries_a_sweep_out(opened: Callable[..., Sweep], tmp_path: Path) -> None:
    opened()
    with pytest.raises(UsageError, match="is being carried out by another process"):
        open_sweep(str(tmp_path / "sweep"), ABOUT, [])


@pytest.mark.parametrize("text", ["[]", "{}", '{"runs": [{"x": 1}]}'])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(FileError, match="describes no sweep"):
        open_sweep(str(tmp_path), ABOUT, [])


def test_a_sweep_is_called_after_what_it_varies() -> None:
    assert sweep_name(ABOUT).startswith("lr-")
    assert sweep_name(ABOUT) == sweep_name(dict(ABOUT))
    assert sweep_name(ABOUT) != sweep_name({**ABOUT, "overrides": ["a=1"]})
    members = planned_members("s", [{"+a.b": "x/y z", "c": "'q'"}])
    assert (members[0].name, members[0].output) == ("000-b=x-y-z,c=-q", "s/000-b=x-y-z,c=-q")
