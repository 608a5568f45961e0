from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import forge
from forge.base.errors import TrustError, UsageError
from forge.cli import handing_over
from forge.cli.handing_over import HandingOver, begun_again, built_topology, hand_over, is_ready, prepare_run, start_run
from forge.cli.output import Output
from forge.control.known import find_job, known_jobs
from forge.launch.run_folder import read_topology
from forge.launch.supervise import Detached
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from pathlib import Path

    from forge.api.run import PlannedRun

HOSTS = Topology(kind="ssh", hosts=("a:2", "b"), nodes=2)


@pytest.fixture
def planned(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> PlannedRun:
    """A run that can begin."""
    assert environment
    monkeypatch.chdir(project)
    return forge.open(project).config("tiny", "+trainer.output_dir=out").plan_run()


@pytest.fixture
def output() -> Output:
    """What is printed, and what is noted beside it."""
    return Output(io.StringIO(), io.StringIO())


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm that takes every job, in which the job has failed with 3."""
    for name, says in {"sbatch": "7", "squeue": "", "scontrol": "JobId=7 JobState=FAILED ExitCode=3:0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")


def said(output: Output) -> str:
    return str(output.stream.getvalue())


def test_hosts_keep_where_they_are(planned: PlannedRun, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def start(_: Output, run: PlannedRun, **how: bool) -> int:
        run.prepare()
        started.append((run.launch.command, how))
        return 3

    monkeypatch.setattr(handing_over, "start_run", start)
    assert hand_over(output, planned, HOSTS, HandingOver(dry_run=True)) == 0
    lines = said(output).splitlines()
    assert lines[2].endswith(f"--hosts a:2,b --prepare {planned.folder}")
    assert " -m forge.launch.hosts " in lines[3]
    assert [line.split()[:2] for line in lines[5:]] == [["#", "ssh"], ["#", "ssh"]]
    assert read_topology(planned.folder) is None
    assert hand_over(output, planned, HOSTS, HandingOver(detach=True)) == 3
    ((command, how),) = started
    assert command[1:3] == ("-m", "forge.launch.hosts")
    assert how == {"detach": True}
    assert read_topology(planned.folder) == HOSTS


def test_a_run_is_prepared_for_somebody_else(planned: PlannedRun, output: Output) -> None:
    for number, topology in enumerate((HOSTS, Topology(kind="slurm", nodes=2))):
        one = planned._replace(folder=f"out/runs/{number}")
        assert hand_over(output, one, topology, HandingOver(prepares=True)) == 0
        assert read_topology(one.folder) == topology
    assert "run folder out/runs/0 is made, what starts it is\n  PYTHONSAFEPATH=1 " in said(output)
    script = os.path.abspath("out/runs/1/job.sbatch")
    assert said(output).endswith(f"  sbatch --parsable {script}\n")
    assert os.path.isfile(script)
    assert prepare_run(output, planned) == 0
    with pytest.raises(UsageError, match="the manifests bring the run folder with them"):
        hand_over(output, planned, Topology(kind="k8s_job", image="x"), HandingOver(prepares=True))
    assert known_jobs() == []


@pytest.mark.usefixtures("slurm")
def test_a_job_of_slurm_is_in_the_list_and_its_end_too(planned: PlannedRun, output: Output) -> None:
    topology = Topology(kind="slurm", nodes=2, partition="gpu")
    assert hand_over(output, planned, topology, HandingOver()) == 0
    assert said(output).startswith(f"job 7 submitted, run folder {planned.folder}\n")
    job = find_job("tiny-1")
    assert (job.how, job.record.cluster) == ("on Slurm, job 7", {"kind": "slurm", "job": "7"})
    assert job.record.console.endswith("slurm-7.out")
    assert read_topology(planned.folder) == topology
    again = planned._replace(folder=f"{planned.folder}-2")
    assert hand_over(output, again, topology, HandingOver(waits=True)) == 3
    assert find_job("tiny-2").state == "stopped"


def test_what_does_not_fit_is_handed_to_nobody(planned: PlannedRun, output: Output) -> None:
    topology = Topology(kind="slurm", nproc_per_node=8, gpus_per_node=4)
    assert hand_over(output, planned, topology, HandingOver()) == 2
    assert "nothing was started, there is not what it needs" in str(output.errors.getvalue())
    assert hand_over(output, planned, topology, HandingOver(dry_run=True)) == 0
    assert "8 processes do not fit on the 4 GPUs that each node is asked for" in str(output.errors.getvalue())
    assert "a run would not start from here, there is not what it needs" in str(output.errors.getvalue())
    assert is_ready(output, planned, topology=Topology(kind="slurm"))


def test_what_the_files_bring_is_not_started_before_it_is_trusted(project: Path, planned: PlannedRun) -> None:
    (project / "configs" / "mine.yaml").write_text(
        "defaults: [tiny, _self_]\nlaunch:\n  _target_: forge.launch.topology.Topology\n  env: {LD_PRELOAD: /opt/x.so}\n"
    )
    assert planned
    config = forge.open(project).config("mine")
    with pytest.raises(TrustError, match=r"(?s)mine\.yaml:4: launch\.env\.LD_PRELOAD: /opt/x\.so.*-t mine trust"):
        built_topology(config)
    assert built_topology(config.override("~launch.env.LD_PRELOAD")) == Topology()


def test_a_run_that_may_be_started_again_goes_on_then(planned: PlannedRun) -> None:
    assert begun_again(planned, Topology()) is planned
    trainer = begun_again(planned, Topology(max_restarts=1)).config.data()["trainer"]
    assert trainer["resume_from_checkpoint"] == "auto"


def test_what_goes_on_in_the_background_is_named(output: Output) -> None:
    class Run:
        folder = "out/runs/x"

        def start_detached(self) -> Detached:
            return Detached("", 17, self.folder)

    run: Any = Run()
    assert start_run(output, run, detach=True) == 0
    assert said(output).startswith("started: process 17, run folder out/runs/x; a file named STOP")


def test_the_frozen_config_travels_with_a_job_of_kubernetes(
    planned: PlannedRun, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[Any] = []
    monkeypatch.setattr("forge.launch.k8s_client.client_missing", lambda: "")
    monkeypatch.setattr("forge.launch.k8s_client.apply", lambda made: applied.extend(made) or ["made"])
    monkeypatch.setattr("forge.launch.prepare.on_a_volume", lambda *_: None)
    topology = Topology(kind="k8s_job", image="x", job_name="tiny")
    assert hand_over(output, planned, topology, HandingOver()) == 0
    assert json.loads(applied[0]["data"]["run.json"])["config"] == "tiny"
    assert find_job("tiny-1").how == "on Kubernetes, default/tiny"
