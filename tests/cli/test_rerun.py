from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import forge
from forge.base.errors import FileError, UsageError
from forge.cli.rerun import ended_job, frozen_run, rerun
from forge.control.known import job_of_run
from forge.control.processes import identity
from forge.control.record import change_record, remove_records
from forge.control.register import register
from forge.launch.local import AskedHere, LocalLaunch
from forge.launch.run_folder import describe_run, topology_file
from forge.launch.slurm_jobs import JobState
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.control.known import KnownJob

    Make = Callable[..., KnownJob]

OUTPUT = "++trainer.output_dir=output"


@pytest.fixture
def made(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a run of the past, which was asked for like this; what its folder says it was started with is a lie."""
    assert environment
    monkeypatch.chdir(project)

    def make(*changes: str | tuple[str, str], asked: AskedHere | None = None) -> KnownJob:
        folder = project / "output" / "runs" / "20260101-000000-tiny"
        config = forge.open(project).config("tiny", *changes, OUTPUT)
        config.freeze(folder)
        launch = LocalLaunch(
            ("/opt/evil", "-m", "forge.ml.train", str(folder)), {"LD_PRELOAD": "x"}, asked or AskedHere()
        )
        describe_run(str(folder), launch=launch, project_folder=str(project))
        overrides = [change if isinstance(change, str) else change[1] for change in config.overrides]
        register(config="tiny", project="demo", overrides=overrides, run_folder=str(folder)).ended(0)
        return job_of_run(str(folder))

    return make


def _handed_over(job: KnownJob, topology: Topology) -> None:
    name, text = topology_file(topology)
    Path(job.record.run, name).write_text(text)


def test_flags_that_were_typed_are_overrides_again(made: Make) -> None:
    job = made(("++trainer.max_steps=7", "--max-steps 7"), "mode=slow")
    again = rerun(job, [], resumes=False)
    assert again.line.endswith("-t tiny train ++trainer.max_steps=7 mode=slow ++trainer.output_dir=output")
    assert again.notes == []
    assert again.planned.config.data(path="trainer")["max_steps"] == 7
    assert again.planned.launch.command == (sys.executable, "-m", "forge.ml.train", again.planned.folder)
    assert again.planned.launch.environment == {}
    assert again.topology.kind == "local"
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
    _handed_over(job, hosts)
    again = rerun(job, ["trainer.max_steps=5"], resumes=True)
    assert again.topology == replace(hosts, hosts=("a:2", "b"))
    assert again.line.endswith("resume_from_checkpoint=auto trainer.max_steps=5 --hosts a:2,b")
    assert again.planned.folder != job.record.run
    elsewhere = "+launch={_target_: forge.launch.topology.Topology, kind: slurm, nodes: 3}"
    assert rerun(job, [elsewhere], resumes=True).topology == Topology(kind="slurm", nodes=3)
    requeued = elsewhere.replace("nodes: 3", "requeue: true")
    trainer = rerun(job, [requeued], resumes=False).planned.config.data()["trainer"]
    assert trainer["resume_from_checkpoint"] == "auto"  # when it is queued again


def test_a_folder_says_on_which_hosts_and_nothing_else(made: Make) -> None:
    job = made()
    _handed_over(job, Topology(kind="ssh", hosts=("a",), nodes=1, setup=("evil",), python="/opt/evil"))
    assert rerun(job, [], resumes=False).topology == Topology(kind="ssh", hosts=("a",), nodes=1)
    _handed_over(job, Topology(kind="slurm", setup=("evil",)))
    assert rerun(job, [], resumes=False).topology == Topology()


def test_it_is_started_as_it_was_asked_for(made: Make) -> None:
    launch = rerun(made(asked=AskedHere("cpu", 2, ("--max-restarts", "1"))), [], resumes=True).planned.launch
    assert launch.environment["CUDA_VISIBLE_DEVICES"] == ""
    words = launch.command
    assert words[words.index("--nproc-per-node") + 1] == "2"
    assert "--max-restarts" in words
    with pytest.raises(UsageError, match="names no device"):
        rerun(made(asked=AskedHere("0; evil")), [], resumes=True)


def test_the_run_of_somebody_else_is_not_begun_again(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made("mode=slow")
    facts = Path(job.record.run, "run.json")
    facts.write_text(facts.read_text().replace("mode=slow", "mode=fast"))
    assert " mode=slow " in rerun(job, [], resumes=False).line  # the user's own record is what counts
    remove_records([job.id])
    job = job_of_run(job.record.run)
    assert " mode=fast " in rerun(job, [], resumes=False).line
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    owner = os.stat(facts).st_uid
    if owner == 0:
        os.chown(facts, 4712, -1)
    with pytest.raises(UsageError, match="was written by another user"):
        rerun(job, [], resumes=False)


def test_a_relative_output_folder_is_one_of_the_folder_it_was_started_in(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, before = made(), Path.cwd()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"started in {before}.*\n.*cd {before} first"):
        rerun(job, [], resumes=True)
    assert rerun(job, ["trainer.output_dir=/opt/x"], resumes=True).planned.output == "/opt/x"


def test_a_checkpoint_may_be_named(made: Make) -> None:
    assert (
        "resume_from_checkpoint=/run/checkpoints/checkpoint-7"
        in rerun(made(), [], resumes=True, checkpoint="/run/checkpoints/checkpoint-7").line
    )


def test_a_project_that_was_moved_is_found_where_it_is_said_to_be(made: Make, project: Path) -> None:
    job = made()
    (project / "output").rename(project.parent / "output")
    moved = job_of_run(str(project.parent / "output" / "runs" / os.path.basename(job.record.run)))
    there = project.rename(project.parent / "else where")
    where = f"trainer.output_dir={project.parent / 'output'}"
    with pytest.raises(UsageError, match=r"was .*/demo, which is not there any more\n.*forge -p FOLDER runs resume"):
        rerun(moved, [where], resumes=True)
    again = rerun(moved, [where], resumes=True, project=str(there))
    assert again.planned.config.project.folder == str(there)
    (there / "project.yaml").write_text("name: another\n")
    with pytest.raises(UsageError, match=r"is of the project demo, and .* is another"):
        rerun(moved, [where], resumes=True, project=str(there))


def test_what_cannot_start_again_is_told(made: Make) -> None:
    meets = AskedHere(None, None, ("--nnodes", "2", "--rdzv-endpoint", "192.0.2.7", "--rdzv-conf", "is_host=false"))
    with pytest.raises(UsageError, match=r"was not started on this machine alone: it met others at 192\.0\.2\.7:29400"):
        rerun(made(asked=meets), [], resumes=False)
    job = made()
    Path(job.record.run, "launch.json").write_text("{}")
    with pytest.raises(FileError, match="does not say how the run was started"):
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
