"""``forge train`` up to the process that trains; what that does is tested with real models elsewhere."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from forge.control.jobs import find_job, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_a_dry_run_shows_what_would_run_and_leaves_nothing(run: Run, project: Path) -> None:
    done = run("train", "--dry-run", "trainer.max_steps=3")
    assert done.code == 0
    assert done.errors == ""
    lines = dict(line.split(maxsplit=1) for line in done.out.replace("run folder", "folder").splitlines())
    assert lines["config"] == "tiny of demo"
    assert lines["output"] == "output/demo/tiny"
    assert lines["folder"].startswith("output/demo/tiny/runs/")
    assert lines["folder"].endswith("-tiny")
    assert lines["command"].endswith(f"-m forge.ml.train {lines['folder']}")
    assert not (project / "output").exists()


def test_the_device_is_part_of_the_command(run: Run) -> None:
    shown = run("train", "--dry-run", "-d", "1", "+trainer.output_dir=out").out
    assert "command      CUDA_VISIBLE_DEVICES=1 " in shown
    assert "CUDA_VISIBLE_DEVICES= " in run("train", "--dry-run", "-d", "cpu", "+trainer.output_dir=out").out


@pytest.mark.parametrize(("devices", "says"), [("0,1", "takes one device"), ("first", "names no device")])
def test_devices_that_cannot_be_used(run: Run, devices: str, says: str) -> None:
    done = run("train", "--dry-run", "-d", devices, "+trainer.output_dir=out")
    assert done.code == 2
    assert says in done.errors


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
