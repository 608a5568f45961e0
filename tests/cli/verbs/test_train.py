"""``forge train`` up to the process that trains; what that does is tested with real models elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from forge.control.jobs import wait_for_end
from forge.control.known import find_job
from forge.graph.call_check import Finding
from forge.launch.preflight_devices import Devices

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_a_dry_run_shows_what_would_run_and_leaves_nothing(run: Run, project: Path) -> None:
    done = run("train", "--dry-run", "trainer.max_steps=3")
    assert done.code == 0
    assert done.errors == ""
    told, there, prepare, command = done.out.splitlines()
    assert told == "# tiny of demo, which writes below output/demo/tiny"
    assert there == f"cd {project}"
    folder = prepare.split()[-1]
    assert folder.startswith("output/demo/tiny/runs/")
    assert folder.endswith("-tiny")
    assert command.endswith(f"-m forge.ml.train {folder}")
    assert not (project / "output").exists()


def test_where_there_is_no_project_it_says_what_it_trains(run: Run, empty: Path, project: Path) -> None:
    done = run("train", "--dry-run", cwd=empty)
    assert done.code == 0
    first = done.errors.splitlines()[0]
    assert first.startswith("there is no project here: this is pretrain/tiny of pydoc, which is part of forge")
    assert run("-p", str(project), "train", "--dry-run", cwd=empty).errors == ""


def test_the_device_is_part_of_the_command(run: Run) -> None:
    shown = run("train", "--dry-run", "-d", "1", "+trainer.output_dir=out").out
    assert " CUDA_VISIBLE_DEVICES=1 " in shown
    assert "CUDA_VISIBLE_DEVICES='' " in run("train", "--dry-run", "-d", "cpu", "+trainer.output_dir=out").out


@pytest.mark.parametrize(("devices", "says"), [("0,0", "names a GPU twice"), ("first", "names no device")])
def test_devices_that_cannot_be_used(run: Run, devices: str, says: str) -> None:
    done = run("train", "--dry-run", "-d", devices, "+trainer.output_dir=out")
    assert done.code == 2
    assert says in done.errors


def test_a_folder_that_is_there_is_not_prepared(run: Run, project: Path) -> None:
    assert run("train", "--prepare", "out/mine", "+trainer.output_dir=out").code == 0
    assert (project / "out" / "mine" / "graph.json").is_file()
    done = run("train", "--prepare", "out/mine", "+trainer.output_dir=out")
    assert done.code == 2
    assert "out/mine is there already" in done.errors


def test_a_config_with_a_mistake_starts_nothing(run: Run, project: Path) -> None:
    done = run("train", "size._target_=builtins.dcit", "+trainer.output_dir=out")
    assert done.code == 2
    assert "nothing was started" in done.errors
    assert not (project / "out").exists()


def test_a_config_without_a_trainer_is_no_run(run: Run, project: Path) -> None:
    (project / "configs" / "bare.yaml").write_text(
        "meta: {description: Nothing to run.}\nsize: {_target_: builtins.dict}\n"
    )
    done = run("-t", "bare", "train")
    assert done.code == 2
    assert "bare describes no run" in done.errors


def test_the_run_folder_says_everything(run: Run, project: Path) -> None:
    done = run("train", "+trainer.output_dir=out", "trainer.max_steps=7")
    assert done.code == 2  # what this config builds is no Trainer, as the process says
    (folder,) = (project / "out" / "runs").iterdir()
    assert "max_steps: 7" in (folder / "config.yaml").read_text()
    assert json.loads((folder / "run.json").read_text())["overrides"] == [
        "+trainer.output_dir=out",
        "trainer.max_steps=7",
    ]
    assert json.loads((folder / "launch.json").read_text())["command"][1:3] == ["-m", "forge.ml.train"]
    assert "hydra-core" in json.loads((folder / "env.json").read_text())["packages"]
    assert not any(b"hunter2" in file.read_bytes() for file in folder.iterdir())

    job = find_job("tiny-1")
    assert (job.state, job.record.code, job.record.run) == ("failed", 2, str(folder))
    assert (job.record.config, job.record.project, job.record.console) == ("tiny", "demo", "")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a training, something that ends at once."""
    said = "import sys; print('begun'); sys.exit(3)"
    monkeypatch.setattr("forge.launch.local.module_command", lambda *_: [sys.executable, "-c", said])


@pytest.mark.usefixtures("quick")
def test_a_detached_run_goes_on_by_itself(run: Run) -> None:
    done = run("train", "--detach", "+trainer.output_dir=out", "api_key=hunter2")
    assert (done.code, done.errors) == (0, "")
    first, second = done.out.splitlines()
    assert second == "  logs tiny-1 -f, attach tiny-1, stop tiny-1: to see and to end it"
    job = wait_for_end(find_job("tiny-1"))
    assert first.startswith(f"tiny-1 started: process {job.record.process.pid}, run folder out/runs/")
    assert job.state == "stopped"
    assert job.record.overrides == ("+trainer.output_dir=out", "api_key=********")
    assert run("logs", "tiny-1").out == "begun\n"


@pytest.mark.usefixtures("quick")
def test_a_run_that_cannot_be_listed_is_run(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", "/dev/null/below")
    done = run("train", "+trainer.output_dir=out")
    assert done.code == 3
    assert "warning: this run is not in the list of jobs: cannot write /dev/null/below/jobs" in done.errors
    done = run("train", "--detach", "+trainer.output_dir=out")
    assert done.code == 0
    assert "a file named STOP in that folder stops it" in done.out
    assert len(list((project / "out" / "runs").iterdir())) == 2


def test_several_processes_are_started_by_torchrun(run: Run) -> None:
    for words in (["--nproc", "2"], ["-d", "0,1"], ["-d", "cpu", "--nproc=2"], ["--", "--nproc_per_node", "2"]):
        done = run("train", "--dry-run", *words)
        assert done.code == 0
        line = done.out.splitlines()[-1]
        assert (
            " -m forge.launch.agent torch.distributed.run --standalone --nproc-per-node 2 -m forge.launch.rank forge.ml.train "
            in line
        )


def test_the_config_says_how_many_processes_there_are(run: Run) -> None:
    local = "+launch={_target_: forge.launch.topology.Topology, nproc_per_node: 2, max_restarts: 1}"
    shown = run("train", "--dry-run", local, "--", "--monitor-interval=1")
    assert "--standalone --nproc-per-node 2 --max-restarts 1 --monitor-interval 1 " in shown.out


def test_a_run_that_torchrun_may_start_again_goes_on_then(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def start(_: object, planned: object, **__: object) -> int:
        started.append(planned)
        return 0

    monkeypatch.setattr("forge.cli.handing_over.start_run", start)
    monkeypatch.setattr("forge.cli.handing_over.is_ready", lambda *_, **__: True)
    for words in (["--max-restarts", "0"], ["--max-restarts=2"]):
        assert run("train", "--", *words).code == 0
    once, again = (planned.config.data()["trainer"].get("resume_from_checkpoint") for planned in started)
    assert (once, again) == (None, "auto")


def test_what_follows_the_dashes_is_torchruns(run: Run) -> None:
    for words, says in (
        (["--", "--nproc", "2"], "did you mean '--nproc-per-node'?"),
        (["--", "trainer.max_steps=3"], "train does not know what to do with"),
        (["tiny"], "forge -t tiny train"),
        (["--nnodes", "2"], "train has no flag '--nnodes'"),
    ):
        done = run("train", "--dry-run", *words)
        assert done.code == 2
        assert says in done.errors


def test_two_nodes_by_hand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "192.0.2.7:29400",
        "--rdzv-id",
        "1",
    ]
    first = run("train", "--dry-run", "--", *words, "--rdzv-conf", "is_host=true")
    assert "-m forge.launch.node --host 192.0.2.7:29400 --nodes 2 --id 1 " in first.out
    assert "--rdzv-conf is_host=true" in first.out
    second = run("train", "--dry-run", "--", *words)
    assert "-m forge.launch.node --join 192.0.2.7:29400 --nodes 2 --id 1 " in second.out
    monkeypatch.setenv("NNODES", "2")
    monkeypatch.setenv("PET_NNODES", "4")
    done = run("train", "--dry-run")
    assert done.code == 2
    assert "PET_NNODES=4 and NNODES=2 disagree" in done.errors


def topology(**values: object) -> str:
    inner = ", ".join(f"{name}: {value}" for name, value in values.items())
    return f"+launch={{_target_: forge.launch.topology.Topology, {inner}}}"


def test_hosts_get_a_command_each(run: Run, project: Path) -> None:
    done = run("train", "--dry-run", "--hosts", "a:4,b:2")
    assert [shlex.split(line)[-2] for line in done.out.splitlines() if line.startswith("# ssh ")] == ["a", "b"]
    assert not (project / "output").exists()


def test_a_script_for_slurm_is_shown(run: Run, project: Path) -> None:
    done = run("train", "--dry-run", topology(kind="slurm", nodes=2, partition="gpu", requeue="true"))
    assert done.code == 0
    assert "\nsbatch --parsable <<'END_OF_JOB'\n#!/bin/bash\n#SBATCH --job-name=forge\n" in done.out
    assert f"\nrun={project}/output/demo/tiny/runs/" in done.out
    assert not (project / "output").exists()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of Slurm that say that a job has ended with 3."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, says in {
        "sbatch": "7",
        "squeue": "",
        "scontrol": "JobId=7 JobState=FAILED ExitCode=3:0",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.usefixtures("slurm")
def test_a_job_is_submitted_and_followed(run: Run, project: Path) -> None:
    done = run("train", topology(kind="slurm", requeue="true"))
    assert (done.code, done.errors) == (0, "")
    assert done.out.startswith("job 7 submitted, run folder output/demo/tiny/runs/")
    (folder,) = (project / "output" / "demo" / "tiny" / "runs").iterdir()
    assert {"graph.json", "job.sbatch", "launch.json", "config.yaml", "logs"} <= {
        file.name for file in folder.iterdir()
    }
    # It may be started again, and goes on then.
    assert "resume_from_checkpoint: auto" in (folder / "config.yaml").read_text()
    done = run("train", topology(kind="slurm"), "--wait")
    assert done.code == 3
    assert "job 7: FAILED" in done.errors


def test_manifests_are_shown_and_written_for_kubectl(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.launch.k8s_client.find_spec", lambda _: None)
    mounts = "[{_target_: forge.launch.topology.Mount, claim: ckpt, path: /ckpt}]"
    job = topology(kind="k8s_job", nodes=2, image="forge:1", mounts=mounts)
    done = run("train", "--dry-run", job, "+trainer.output_dir=/ckpt/out")
    assert [document["kind"] for document in yaml.safe_load_all(done.out)] == ["ConfigMap", "Service", "Job"]
    done = run("train", job, "+trainer.output_dir=/ckpt/out")
    assert done.code == 2
    assert "kubectl apply -f output/forge.yaml" in done.errors
    assert "kind: Job" in (project / "output" / "forge.yaml").read_text()
    done = run("train", "--dry-run", job)
    assert "on no volume that the pods can write to" in done.errors


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--wait"], "--wait is for a job of Slurm"),
        (["--show-logs"], "--show-logs is for a job of Slurm"),
        ([topology(kind="slurm"), "--nproc", "2"], "--nproc means nothing to launch=slurm"),
        ([topology(kind="slurm"), "--", "--nnodes", "2"], "flags of torchrun mean nothing to launch=slurm"),
        ([topology(kind="slurm"), "--hosts", "a"], "--hosts is for machines that are reached by ssh"),
        ([topology(kind="slurm"), "--detach"], "in the background anyway"),
        (["+launch={_target_: builtins.dict}"], "launch is no topology"),
        (["--hosts", "a,-b"], "does not begin with a dash"),
    ],
)
def test_what_would_have_no_effect_is_refused(run: Run, words: list[str], says: str) -> None:
    done = run("train", "--dry-run", *words)
    assert done.code == 2
    assert says in done.errors


def test_what_there_is_not_starts_nothing(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.launch.preflight.devices_here", lambda: Devices(2, 2))
    done = run("train", "+trainer.output_dir=out", "-d", "2")
    assert done.code == 2
    assert "error: launch.nproc_per_node: GPU 2 is not on this machine" in done.errors
    assert "tiny: nothing was started, there is not what it needs" in done.errors
    monkeypatch.setattr(os, "access", lambda *_: False)
    for where in ([], ["--hosts", "a,b"], [topology(kind="slurm", nodes=2)]):
        done = run("train", "+trainer.output_dir=out", *where)
        assert done.code == 2
        assert "cannot be written to" in done.errors
    assert not (project / "out").exists()


@pytest.mark.usefixtures("quick")
def test_a_warning_stops_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    warning = Finding(None, "launch.nproc_per_node", "3 processes share 2 processors", severity="warning")
    monkeypatch.setattr("forge.launch.preflight.preflight", lambda *_: [warning])
    done = run("train", "+trainer.output_dir=out")
    assert done.code == 3
    assert done.errors == "warning: launch.nproc_per_node: 3 processes share 2 processors\n"
