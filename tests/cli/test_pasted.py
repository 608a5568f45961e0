"""What a dry run prints is pasted into a real shell; on a real Slurm and over a real ssh that is done in tests/launch."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import forge
from forge.cli.pasted import as_comment, forge_words, job_lines, preparing, run_lines
from forge.launch.local import plan_local

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.fixture(autouse=True)
def _here(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment
    monkeypatch.chdir(project)


def test_the_words_make_the_same_config_again() -> None:
    config = forge.open(".").config("tiny", "size=large", ("trainer.max_steps=3", "--max-steps 3"), "api_key=hunter2")
    words = forge_words(config, ("a:4", "b"))
    assert words[2:5] == ["-t", "tiny", "train"]
    assert words[5:] == ["size=large", "trainer.max_steps=3", "api_key=********", "--hosts", "a:4,b"]


def test_the_folder_is_made_first() -> None:
    planned = forge.open(".").config("tiny", "+trainer.output_dir='out put'").plan_run()
    told, there, line = preparing(planned, ("a",))
    assert told == "# tiny of demo, which writes below out put"
    assert shlex.split(there) == ["cd", os.getcwd()]
    words = shlex.split(line)
    assert words[:4] == ["PYTHONSAFEPATH=1", sys.executable, "-m", "forge"]
    assert words[-4:] == ["--hosts", "a", "--prepare", planned.folder]


def test_a_node_that_joins_makes_none() -> None:
    words = ["--nnodes", "2", "--rdzv-endpoint", "192.0.2.7:29400", "--rdzv-conf", "is_host=false"]
    plan, planned = plan_local(words=words), forge.open(".").config("tiny").plan_run()
    lines = run_lines(planned, plan)
    assert lines[0] == "# tiny of demo, a run of 192.0.2.7"
    assert os.path.basename(planned.folder) in lines[1]
    assert not any("--prepare" in line for line in lines)


def test_a_script_arrives_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sbatch").write_text('#!/bin/sh\ncat > "$0.got"\n')
    (tmp_path / "sbatch").chmod(0o755)
    script = "#!/bin/bash\n#SBATCH --time=1:00\nrun='a b'\ncd \"$HOME\" && echo `date` \\\n\n"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", "\n".join(job_lines(script))], env=environment, check=True)
    assert (tmp_path / "sbatch.got").read_text() == script
    hostile = "#!/bin/bash\nEND_OF_JOB\ntouch pasted\n"
    subprocess.run(["bash", "-c", "\n".join(job_lines(hostile))], env=environment, check=True, cwd=tmp_path)
    assert (tmp_path / "sbatch.got").read_text() == hostile
    assert not (tmp_path / "pasted").exists()


def test_a_comment_has_no_way_out() -> None:
    assert [as_comment(line) for line in ("a", "", "a\nrm x\r\n")] == ["# a", "#", "# a\n# rm x\r\n#"]


def test_what_a_dry_run_prints_is_what_the_run_does(run: Run, project: Path) -> None:
    changes = ("trainer.max_steps=7", "+trainer.output_dir='out; touch x'")
    shown = run("train", "--dry-run", *changes, cwd=project)
    assert not (project / "out; touch x").exists()
    done = subprocess.run(["bash", "-c", shown.out], capture_output=True, text=True, check=False, env=os.environ)
    # What this config builds is no Trainer, as the process says that trains.
    assert done.returncode == 2, done.stderr
    assert "what starts it is" in done.stdout
    (pasted,) = (project / "out; touch x" / "runs").iterdir()
    run("train", *changes, cwd=project)
    (own,) = {*(project / "out; touch x" / "runs").iterdir()} - {pasted}
    assert json.loads((pasted / "graph.json").read_text()) == json.loads((own / "graph.json").read_text())
    mine, others = (json.loads((one / "launch.json").read_text()) for one in (own, pasted))
    assert (mine["command"][:3], mine["environment"]) == (others["command"][:3], others["environment"])
    assert {one.name for one in own.iterdir()} - {one.name for one in pasted.iterdir()} == {"job.json"}
