from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import forge
from forge.base.errors import UsageError
from forge.cli.rerun import ended_job, frozen_run, rerun
from forge.control.known import job_of_run
from forge.control.processes import identity
from forge.control.record import change_record
from forge.control.register import register
from forge.launch.run_folder import write_topology
from forge.launch.slurm_jobs import JobState
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.control.known import KnownJob

    Make = Callable[..., KnownJob]

OUTPUT = "++trainer.output_dir=output"


@pytest.fixture
def made(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a run of the past, which the given command has started; ``RUN`` in it is its folder."""
    assert environment
    monkeypatch.chdir(project)

    def make(*changes: str | tuple[str, str], command: tuple[str, ...] = ("python", "-m", "x", "RUN")) -> KnownJob:
        folder = project / "output" / "runs" / "20260101-000000-tiny"
        forge.open(project).config("tiny", *changes, OUTPUT).freeze(folder)
        words = [str(folder) if word == "RUN" else word for word in command]
        (folder / "launch.json").write_text(json.dumps({"command": words, "environment": {}}))
        register(config="tiny", project="demo", overrides=[], run_folder=str(folder)).ended(0)
        return job_of_run(str(folder))

    return make


def test_flags_that_were_typed_are_overrides_again(made: Make) -> None:
    job = made(("++trainer.max_steps=7", "--max-steps 7"), "mode=slow")
    again = rerun(job, [], resumes=False)
    assert again.line.endswith("-t tiny train ++trainer.max_steps=7 mode=slow ++trainer.output_dir=output")
    assert again.notes == []
    assert again.planned.config.data(path="trainer")["max_steps"] == 7
    assert again.planned.launch.command == ("python", "-m", "x", again.planned.folder)
    assert again.planned.folder != job.record.run


def test_resuming_twice_says_so_once(made: Make) -> None:
    job = made("+trainer.resume_from_checkpoint=old")
    assert rerun(job, [], resumes=True).line.count("resume_from_checkpoint") == 1
    assert "resume_from_checkpoint" not in rerun(job, [], resumes=False).line


def test_what_the_files_now_say_otherwise_is_told(made: Make, project: Path) -> None:
    job = made()
    path = project / "configs" / "tiny.yaml"
    path.write_text(path.read_text().replace("max_steps: 100", "max_steps: 101"))
    notes = rerun(job, [], resumes=True).notes
    assert notes[0] == "what is otherwise than then:"
    assert "trainer.max_steps" in notes[1]


def test_a_run_on_several_machines_goes_there_again(made: Make) -> None:
    job = made()
    hosts = Topology(kind="ssh", hosts=("a:2", "b"), nodes=2)
    write_topology(job.record.run, hosts)
    again = rerun(job, ["trainer.max_steps=5"], resumes=True)
    assert again.topology == hosts
    assert again.line.endswith("resume_from_checkpoint=auto trainer.max_steps=5 --hosts a:2,b")
    assert again.planned.folder != job.record.run
    elsewhere = "+launch={_target_: forge.launch.topology.Topology, kind: slurm, nodes: 3}"
    assert rerun(job, [elsewhere], resumes=True).topology == Topology(kind="slurm", nodes=3)
    write_topology(job.record.run, Topology(kind="slurm", requeue=True))
    trainer = rerun(job, [], resumes=False).planned.config.data()["trainer"]
    assert trainer["resume_from_checkpoint"] == "auto"  # when it is queued again


def test_a_checkpoint_may_be_named(made: Make) -> None:
    assert (
        "resume_from_checkpoint=/run/checkpoints/checkpoint-7"
        in rerun(made(), [], resumes=True, checkpoint="/run/checkpoints/checkpoint-7").line
    )


def test_what_cannot_start_again_is_told(made: Make) -> None:
    with pytest.raises(UsageError, match=r"was not started on this machine alone: sbatch job\.sbatch"):
        rerun(made(command=("sbatch", "job.sbatch")), [], resumes=False)
    job = made()
    Path(job.record.run, "launch.json").unlink()
    with pytest.raises(UsageError, match="does not say how the run was started"):
        rerun(job, [], resumes=False)
    change_record(job.id, ended="", code=None, process=identity(os.getpid()))
    with pytest.raises(UsageError, match="is running"):
        rerun(job_of_run(job.record.run), [], resumes=False)


def test_a_job_that_a_cluster_still_has_does_not_start_again(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made()
    change_record(job.id, ended="", code=None, cluster={"kind": "slurm", "job": "7"})
    for state, says in (("RUNNING", "is on Slurm, job 7: running"), ("PENDING", "job 7: pending")):
        monkeypatch.setattr("forge.launch.cluster_jobs.job_state", lambda _, state=state: JobState(state))
        with pytest.raises(UsageError, match=says):
            ended_job(job.id, lambda: job)
    monkeypatch.setattr("forge.launch.cluster_jobs.job_state", lambda _: JobState(""))
    assert ended_job(job.id, lambda: job).id == job.id  # nobody knows it any more
    monkeypatch.setattr("forge.launch.cluster_jobs.job_state", lambda _: JobState("FAILED", 1))
    assert ended_job(job.id, lambda: job).state == "failed"
    with frozen_run(job) as folder:
        assert folder == job.record.run
