from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

import forge
from forge.control.progress import RunProgress, write_progress
from forge.control.register import register
from forge.launch.local import LocalLaunch
from forge.launch.run_folder import describe_run, topology_file
from forge.launch.topology import Topology
from forge.ml.checkpoint.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Make = Callable[..., str]


@pytest.fixture
def made(project: Path, environment: dict[str, str]) -> Make:
    """Makes a run of the past in the project's ``output``; its folder."""
    assert environment

    def make(*overrides: str, output: str = "output", code: int = 0) -> str:
        runs = project / output / "runs"
        folder = runs / f"20260101-00000{len(list(runs.glob('*')))}-tiny"
        forge.open(project).config("tiny", *overrides).freeze(folder)
        line = {"step": 3, "loss": 2.5, "lr": 1e-3, "tokens": 30, "tokens_per_second": 9.0, "seconds": {}}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        launch = LocalLaunch(("python", "-m", "forge.ml.train", os.path.relpath(folder, project)))
        describe_run(str(folder), launch=launch, project_folder=str(project))
        write_progress(str(folder), RunProgress(3, 3, 2.5, 9.0))
        job = register(config="tiny", project="demo", overrides=overrides, run_folder=str(folder))
        job.ended(code)
        return os.path.relpath(folder, project)

    return make


def test_without_runs(run: Run) -> None:
    assert run("runs") == (0, "", "no runs below output: `forge train` makes one\n")
    assert run("runs", "list", "--json") == (0, "[]\n", "")


def test_runs_are_listed(run: Run, made: Make) -> None:
    first, second = made(), made(output="output/sweeps/a", code=1)
    done = run("runs")
    head, *rows = done.out.splitlines()
    assert head.split() == ["run", "config", "state", "step", "loss", "eval", "started", "time", "folder"]
    assert [row.split()[-1] for row in rows] == [first, second]
    assert rows[0].split()[1:5] == ["tiny", "finished", "3/3", "2.5000"]
    assert [one["how"] for one in json.loads(run("runs", "list", "--json").out)] == [
        "finished",
        "failed with exit code 1",
    ]
    assert len(run("runs", "list", "output/sweeps").out.splitlines()) == 2
    assert len(run("runs", "list", "--output-dir", "output/runs").out.splitlines()) == 2


def test_runs_are_compared(run: Run, made: Make) -> None:
    first, second, third = made(), made("trainer.max_steps=7"), made()
    done = run("runs", "compare", first, "tiny-2", third)
    assert done.code == 0
    assert "loss        2.5000" in done.out
    assert "trainer.max_steps" in done.out
    assert "100 → 7" in done.out
    assert done.out.rstrip().endswith("the same")
    data = json.loads(run("runs", "compare", first, second, "--json").out)
    assert [one["path"] for one in data["differences"][0]] == ["trainer.max_steps"]
    assert len(data["runs"]) == 2


def test_a_report_is_written(run: Run, made: Make, project: Path) -> None:
    folder = made()
    done = run("runs", "report", folder, "-o", "report.html")
    assert (done.code, done.out, done.errors) == (0, "", "wrote report.html\n")
    assert "<h1>tiny</h1>" in (project / "report.html").read_text()
    assert run("runs", "report", "output").errors == f"wrote {folder}/report.html\n"


def test_the_checkpoints_of_other_runs_are_left_out(run: Run, made: Make, project: Path) -> None:
    folder = made()
    for step, name in ((1, folder), (2, "/elsewhere/other-run")):
        checkpoint = project / "output" / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        manifest = {"step": step, "facts": {"run": name}}
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    done = run("runs", "report", folder, "-o", "report.html")
    assert done.code == 0, done.errors


def test_a_run_starts_again(run: Run, made: Make) -> None:
    folder = made("mode=slow", "++trainer.output_dir=output")
    done = run("runs", "relaunch", folder, "trainer.max_steps=5", "--dry-run")
    assert done.code == 0
    *_, prepared, command = done.out.splitlines()
    assert done.errors.endswith("-t tiny train mode=slow ++trainer.output_dir=output trainer.max_steps=5\n")
    assert " -t tiny train mode=slow ++trainer.output_dir=output trainer.max_steps=5 --prepare output/runs/" in prepared
    assert command.startswith(f"PYTHONSAFEPATH=1 {sys.executable} -m forge.ml.train output/runs/")
    assert folder not in command
    assert "what is otherwise than then:" in done.errors
    assert "trainer.max_steps" in done.errors
    done = run("runs", "resume", "tiny-1", "--dry-run")
    assert "++trainer.resume_from_checkpoint=auto" in done.out
    assert "what is otherwise" not in done.errors


def test_a_run_of_slurm_is_shown_as_it_would_be_handed_over_again(run: Run, made: Make, project: Path) -> None:
    slurm = "+launch={_target_: forge.launch.topology.Topology, kind: slurm, nodes: 2, partition: gpu}"
    folder = made("++trainer.output_dir=output", slurm)
    name, text = topology_file(Topology(kind="slurm", setup=("evil",)))
    (project / folder / name).write_text(text)
    done = run("runs", "resume", folder, "--dry-run")
    assert "\n#!/bin/bash\n#SBATCH" in done.out
    assert "#SBATCH --partition=gpu\n" in done.out
    assert "evil" not in done.out
    assert "++trainer.resume_from_checkpoint=auto" in done.errors


def test_a_run_that_saved_only_what_it_was_asked_to_goes_on_from_that(run: Run, made: Make, project: Path) -> None:
    folder = made("++trainer.output_dir=output")
    kept = project / folder / "checkpoints" / "checkpoint-2"
    store = Store(kept.parent)
    with store.begin(2) as stage:
        stage.write_bytes("config.json", b"{}")
        stage.commit({})
    store.release()
    done = run("runs", "resume", folder, "--dry-run")
    assert f"++trainer.resume_from_checkpoint={kept}" in done.out


@pytest.mark.parametrize("action", ["resume", "relaunch"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("trainer.max_steps=some", "tiny: nothing was started, correct the 1 above first"),
        ("++trainer.resume_from_checkpoint=nowhere", "tiny: nothing was started, there is not what it needs"),
    ],
)
def test_what_cannot_begin_again_is_told_before_it_begins(
    run: Run, made: Make, project: Path, action: str, change: str, says: str
) -> None:
    folder = made("++trainer.output_dir=output")
    before = os.listdir(project / folder / "..")
    done = run("runs", action, folder, change)
    assert (done.code, says in done.errors) == (2, True), done.errors
    assert os.listdir(project / folder / "..") == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lsit"], "did you mean 'list'?"),
        (["list", "nowhere"], "there is no folder 'nowhere'"),
        (["list", "--dry-run"], "runs list has no flag --dry-run"),
        (["compare", "tiny-1"], "needs at least two runs"),
        (["report"], "takes one run"),
        (["report", "nosuch"], "there is no run 'nosuch'"),
        (["resume"], "runs resume needs a run"),
        (["resume", "nosuch"], "there is no run 'nosuch'"),
    ],
)
def test_a_wrong_line_is_told(run: Run, words: list[str], says: str) -> None:
    done = run("runs", *words)
    assert done.code == 2
    assert says in done.errors
