"""``forge train --sweep`` up to the processes that train."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run

# Takes two steps, and fails where the config says so.
PROGRAM = """
import json, sys
from forge.control.progress import RunProgress, write_progress
run = sys.argv[1]
config = open(run + "/config.yaml").read()
if "max_steps: 13" in config:
    sys.exit("error: unlucky")
with open(run + "/metrics.jsonl", "w") as file:
    file.write(json.dumps({"step": 2, "loss": 1.5}) + "\\n" + json.dumps({"step": 2, "dataset": "a", "eval_loss": 2.5}) + "\\n")
write_progress(run, RunProgress(2, 2, 1.5, 9.0))
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a training, something that ends at once."""

    def command(_module: str, arguments: list[str]) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *arguments]

    monkeypatch.setattr("forge.launch.local.module_command", command)


def test_a_dry_run_lists_every_combination(run: Run, project: Path) -> None:
    done = run("train", "--sweep", "mode=fast,slow", "max_steps=3,4", "size=large", "--dry-run")
    assert done.code == 0, done.errors
    head, *names = done.out.partition("cd ")[0].splitlines()
    assert head.startswith("# 4 runs in output/demo/tiny/sweeps/mode-max_steps-")
    assert [name.removeprefix("#   ") for name in names] == [
        "000-mode=fast,max_steps=3",
        "001-mode=fast,max_steps=4",
        "002-mode=slow,max_steps=3",
        "003-mode=slow,max_steps=4",
    ]
    _, *made = done.out.split(" --prepare ")
    assert [one.splitlines()[0].split("/")[-3] for one in made] == [name.removeprefix("#   ") for name in names]
    assert "003-mode=slow,max_steps=4/runs/" in done.out.splitlines()[-1]
    assert not (project / "output").exists()


def test_the_runs_of_a_sweep_and_their_table(run: Run, project: Path) -> None:
    line = ["train", "--sweep", "trainer.max_steps=3,4", "mode=slow", "--sweep-jobs", "2"]
    done = run(*line)
    assert done.code == 0, done.errors
    head, *rows = done.out.splitlines()
    assert head.split() == ["trainer.max_steps", "state", "loss", "eval", "loss", "steps", "time"]
    assert [row.split()[:5] for row in rows] == [
        ["3", "finished", "1.5000", "2.5000", "2/2"],
        ["4", "finished", "1.5000", "2.5000", "2/2"],
    ]
    (written,) = project.glob("output/demo/tiny/sweeps/*/sweep.json")
    runs = json.loads(written.read_text())["runs"]
    configs = [Path(one["run"], "config.yaml").read_text() for one in runs]
    assert ["max_steps: 3" in configs[0], "max_steps: 4" in configs[1]] == [True, True]
    assert all("run-slow" in config and one["output"] in config for config, one in zip(configs, runs, strict=True))

    again = run(*line)
    assert again.code == 0
    assert "2 of 2 runs are finished already" in again.errors
    assert again.out == done.out
    path = project / "configs" / "size" / "small.yaml"
    path.write_text(path.read_text().replace("8", "16"))
    changed = run(*line)
    assert changed.code == 2
    assert "is finished, with another config" in changed.errors


def test_a_run_that_fails_ends_the_sweep_or_not(run: Run) -> None:
    line = ["train", "--sweep", "trainer.max_steps=13,4"]
    done = run(*line)
    assert done.code == 1
    assert "error: unlucky" in done.errors
    assert [row.split()[1] for row in done.out.splitlines()[1:]] == ["failed", "waiting"]
    done = run(*line, "--keep-going")
    assert done.code == 1
    assert [row.split()[1] for row in done.out.splitlines()[1:]] == ["failed", "finished"]


def test_a_group_is_chosen_before_what_is_set_in_it(run: Run) -> None:
    done = run("train", "--sweep", "size.dim=5,6", "size=small,large", "--dry-run")
    assert done.code == 0, done.errors


def test_a_run_goes_on_from_its_checkpoints(run: Run, project: Path) -> None:
    line = ["train", "--sweep", "trainer.max_steps=13,4"]
    assert run(*line).code == 1
    (member,) = project.glob("output/demo/tiny/sweeps/*/000-*")
    (member / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    run(*line)
    newest = max(member.glob("runs/*"), key=lambda folder: folder.stat().st_mtime_ns)
    assert "resume_from_checkpoint: auto" in (newest / "config.yaml").read_text()


def test_a_run_that_saves_nothing_by_itself_goes_on_from_what_it_has_kept(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["train", "--sweep", "trainer.max_steps=13,4"]
    assert run(*line).code == 1
    (member,) = project.glob("output/demo/tiny/sweeps/*/000-*")
    (first,) = member.glob("runs/*")
    kept = str(first / "checkpoints" / "checkpoint-4")
    os.makedirs(kept)
    monkeypatch.setattr(
        "forge.cli.checkpoints.listed_checkpoints",
        lambda folder: [{"path": kept, "newest": True}] if os.path.samefile(folder, first) else [],
    )
    done = run(*line)
    newest = max(member.glob("runs/*"), key=lambda folder: folder.stat().st_mtime_ns)
    assert newest != first, done.errors
    assert f"resume_from_checkpoint: {kept}" in (newest / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mode=slow"], "nothing is varied"),
        (["mode=fast,fast"], "it names a value twice"),
        (["mode=fast,slow", "--sweep-jobs", "0"], "--sweep-jobs is at least 1"),
        (["mode=fast,slow", "--", "--nnodes", "2"], "a sweep passes nothing on to torchrun"),
        (["max_steps=0,1"], "0 is below 1"),
        (["nosuch=1,2"], "nosuch"),
        (["size._target_=builtins.dcit,builtins.dict"], "nothing was started"),
        (["mode=fast,slow", "-d", "0,1,2", "--sweep-jobs", "2"], "3 GPUs cannot be shared out to 2 runs"),
        (
            ["mode=fast,slow", "+launch={_target_: forge.launch.topology.Topology, kind: ssh, hosts: [a], nodes: 1}"],
            "a sweep runs on this machine",
        ),
    ],
)
def test_what_is_no_sweep_is_told(run: Run, project: Path, words: list[str], says: str) -> None:
    done = run("train", "--sweep", *words)
    assert done.code == 2
    assert says in done.errors
    assert not (project / "output").exists()


def test_flags_of_a_sweep_need_one(run: Run) -> None:
    for words in (["--keep-going"], ["--sweep-jobs", "2"]):
        done = run("train", *words)
        assert done.code == 2
        assert f"{words[0]} is for a sweep" in done.errors


def test_gpus_are_shared_out(run: Run) -> None:
    done = run("train", "--sweep", "mode=fast,slow", "-d", "0,1,2,3", "--sweep-jobs", "2", "--dry-run")
    assert done.code == 0
    assert "CUDA_VISIBLE_DEVICES=0,1" in done.out


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of Slurm; what squeue says is in a file."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    (folder / "queue").write_text("PENDING")
    for name, does in {
        "sbatch": f'cp "$2" {folder}/script; echo 7',
        "squeue": f"cat {folder}/queue",
        "scontrol": "echo JobState=FAILED ExitCode=1:0",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_slurm_gets_an_array_and_is_asked_again(run: Run, project: Path, slurm: Path) -> None:
    line = [
        "train",
        "--sweep",
        "trainer.max_steps=3,4",
        "--sweep-jobs",
        "2",
        "+launch={_target_: forge.launch.topology.Topology, kind: slurm}",
    ]
    done = run(*line)
    assert done.code == 0, done.errors
    assert "job 7 submitted" in done.errors
    assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["3", "queued"], ["4", "queued"]]
    script = (slurm / "script").read_text()
    assert "#SBATCH --array=0-1%2" in script
    (written,) = project.glob("output/demo/tiny/sweeps/*/sweep.json")
    runs = json.loads(written.read_text())["runs"]
    assert all(f"{one['run']}" in script and Path(one["run"], "graph.json").exists() for one in runs)

    done = run(*line)  # both are still in the queue
    assert "submitted" not in done.errors
    (slurm / "queue").write_text("")
    for one, code in zip(runs, (0, 1), strict=True):
        Path(one["run"], "ending.json").write_text(json.dumps({"code": code, "reason": ""}))
    done = run(*line)
    assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["3", "finished"], ["4", "queued"]]
    assert "#SBATCH --array=0-0%2" in (slurm / "script").read_text()


def test_what_slurm_has_no_use_for_is_told(run: Run) -> None:
    line = ["train", "--sweep", "mode=fast,slow", "+launch={_target_: forge.launch.topology.Topology, kind: slurm}"]
    shown = run(*line, "--dry-run").out
    assert "#SBATCH --array=0-1%1" in shown
    assert shown.count(" --prepare ") == 2
    assert "\nmkdir -p " in shown
    assert "makes the folder of one run" in run(*line, "--prepare", "x").errors
    for words in (["-d", "0"], ["--nproc", "2"], ["--keep-going"]):
        done = run(*line, *words)
        assert done.code == 2
        assert f"{words[0]} means nothing to a sweep with launch=slurm" in done.errors
