"""``forge train`` up to the process that trains; what that does is tested with real models elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

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
