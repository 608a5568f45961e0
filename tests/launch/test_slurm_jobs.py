"""Jobs of Slurm, with programs that say what the real ones have said; tests/launch/slurm_cluster.py sets up the real ones."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.launch import slurm_jobs
from forge.launch.slurm_jobs import JobState, cancel, follow_job, job_state, pauses, submit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Program = Callable[..., None]

MEMORY = "JobId=7 JobName=forge UserId=root(0) JobState={} Reason=None Dependency=(null) Requeue=1 ExitCode={} RunTime=00:00:14"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program on the path that says something and ends with a code; those that are not put there are not there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    real = slurm_jobs.shutil.which
    monkeypatch.setattr(slurm_jobs.shutil, "which", lambda name: real(name, path=str(folder)))

    def put(name: str, says: str = "", code: int = 0, errors: str = "") -> None:
        path = folder / name
        (folder / f".{name}").write_text(says)
        path.write_text(
            f"#!/bin/sh\necho \"$@\" >> {folder}/.calls\ncat {folder}/.{name}\necho '{errors}' >&2\nexit {code}\n"
        )
        path.chmod(0o755)

    return put


@pytest.mark.parametrize("says", ["7\n", "7;cluster\n"])
def test_a_script_is_handed_over(program: Program, tmp_path: Path, says: str) -> None:
    program("sbatch", says)
    assert submit(str(tmp_path / "a job"), folder=str(tmp_path)) == "7"
    assert (tmp_path / "bin" / ".calls").read_text() == f"--parsable {tmp_path}/a job\n"


def test_what_goes_wrong_is_told_in_slurms_words(program: Program, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="sbatch is not here"):
        submit("x", folder=str(tmp_path))
    program("sbatch", code=1, errors="sbatch: error: invalid partition specified: gpu")
    with pytest.raises(ToolError, match="invalid partition"):
        submit("x", folder=str(tmp_path))
    program("sbatch", "hello")
    with pytest.raises(ToolError, match="no number of a job"):
        submit("x", folder=str(tmp_path))


@pytest.mark.parametrize(
    ("queue", "memory", "accounting", "state"),
    [
        ("PENDING\n", "", "", JobState("PENDING")),
        ("RUNNING\n", MEMORY.format("RUNNING", "0:0"), "", JobState("RUNNING")),
        ("COMPLETED\n", MEMORY.format("COMPLETED", "0:0"), "", JobState("COMPLETED", 0)),
        ("", MEMORY.format("FAILED", "3:0"), "", JobState("FAILED", 3)),
        ("", MEMORY.format("CANCELLED", "0:15"), "", JobState("CANCELLED", 143)),
        ("", MEMORY.format("TIMEOUT", "0:0"), "", JobState("TIMEOUT", 1)),
        ("", "", "CANCELLED by 0|0:0\n", JobState("CANCELLED", 130)),
        ("", "", "COMPLETED|0:0\n", JobState("COMPLETED", 0)),
        ("", "", "", JobState("")),
    ],
)
def test_how_a_job_is(program: Program, queue: str, memory: str, accounting: str, state: JobState) -> None:
    program("squeue", queue)
    program("scontrol", memory, code=0 if memory else 1)
    if accounting:
        program("sacct", accounting)
    assert job_state("7") == state
    assert state.over is (state.state not in {"PENDING", "RUNNING"})


def test_the_controller_is_asked_less_and_less_often() -> None:
    first = list(itertools.islice(pauses(), 30))
    assert first[0] == 1.0
    assert first == sorted(first)
    assert first[-1] == 60.0


def test_a_log_is_shown_line_by_line_until_the_job_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    states = iter([JobState("PENDING"), JobState("RUNNING"), JobState("RUNNING"), JobState("FAILED", 3)])
    texts = iter([None, b"one\ntw", b"o\nthree", b""])

    def next_state(_job: str) -> JobState:
        if (text := next(texts)) is not None:
            with log.open("ab") as file:
                file.write(text)
        return next(states)

    monkeypatch.setattr(slurm_jobs, "job_state", next_state)
    monkeypatch.setattr(slurm_jobs, "_FIRST", 0.0)
    shown: list[str] = []
    assert follow_job("7", str(log), shown.append) == JobState("FAILED", 3)
    assert shown == ["one\n", "two\n", "three"]


def test_a_job_is_cancelled_with_its_shell(program: Program, tmp_path: Path) -> None:
    program("scancel")
    cancel("7")
    assert (tmp_path / "bin" / ".calls").read_text() == "--full 7\n"


@pytest.mark.parametrize(
    ("state", "words"),
    [("NODE_FAIL", "NODE_FAIL, one of its nodes was lost"), ("COMPLETED", "COMPLETED"), ("", "forgotten by Slurm")],
)
def test_how_a_job_is_in_words(state: str, words: str) -> None:
    assert JobState(state).words == words
