"""The script that Slurm gets: looked at by eye once (the golden file), read by bash, and hostile to nothing."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.launch.slurm import job_log, sbatch_script
from forge.launch.topology import Topology

GOLDEN = Path(__file__).parent / "golden" / "llama70b.sbatch"
FULL: dict[str, Any] = {
    "nodes": 2,
    "nproc_per_node": 8,
    "gpus_per_node": 8,
    "cpus_per_node": 96,
    "memory_per_node": "0",
    "partition": "train",
    "account": "team",
    "qos": "normal",
    "constraint": "h100",
    "time": "1-00:00:00",
    "requeue": True,
    "exclusive": True,
    "mail": "someone@example.org",
    "tmp_dir": "/scratch/tmp",
    "log_folder": "/shared/slurm logs",
    "python": "/shared/venv/bin/python",
    "folder": "/shared/forge",
    "setup": ["module load cuda/12.4", "source /shared/venv/bin/activate"],
    "env": {"NCCL_DEBUG": "WARN", "NOTE": 'it\'s $HOME "quoted"'},
    "sbatch": {"reservation": "night", "nodelist": "n[1-2]"},
    "max_restarts": 2,
    "job_name": "llama70b",
}
RUN = "/shared/out/runs/100%/20260101-000000-full"


def script(**changes: Any) -> str:
    return sbatch_script(Topology(kind="slurm", **changes), RUN)


def test_a_script_with_everything_is_as_it_was_looked_at() -> None:
    assert script(**FULL) == GOLDEN.read_text()


@pytest.mark.parametrize("changes", [{}, FULL, {"nodes": 4, "rdzv_endpoint": "h:1234"}, {"array": "0-3%1", "nodes": 2}])
def test_bash_reads_it(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "job.sbatch"
    path.write_text(script(**changes))
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        # SC2016: what is quoted once is meant so. SC1091: what a user's line reads is not here.
        done = subprocess.run(
            ["shellcheck", "--exclude=SC2016,SC1091", path], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""


@pytest.mark.parametrize("changes", [{}, FULL])
def test_directives_come_before_every_command(changes: dict[str, Any]) -> None:
    lines = script(**changes).splitlines()
    assert lines[0] == "#!/bin/bash"
    count = sum(line.startswith("#SBATCH") for line in lines)
    assert all(line.startswith("#SBATCH --") for line in lines[1 : count + 1])
    names = [line.partition("--")[2].partition("=")[0] for line in lines[1 : count + 1]]
    assert len(set(names)) == len(names)


def test_what_is_said_of_sbatch_takes_the_place_of_a_default() -> None:
    text = script(sbatch={"time": "9", "output": "x-%j"}, time="1:00:00")
    assert text.count("#SBATCH --time=") == text.count("#SBATCH --output=") == 1
    assert "#SBATCH --time=9\n" in text


def test_each_start_has_a_rendezvous_of_its_own() -> None:
    assert 'id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"' in script()
    assert "id=mine\n" in script(rdzv_id="mine")
    assert "MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))" in script()
    assert "MASTER_PORT=1234\n" in script(rdzv_endpoint="h:1234")


def test_the_log_is_where_it_is_said_to_be() -> None:
    topology = Topology(kind="slurm")
    assert job_log(topology, RUN, "7") == f"{RUN}/logs/slurm-7.out"
    assert "%%" in job_log(topology, RUN)
    assert job_log(Topology(kind="slurm", log_folder="/l"), RUN, "7") == "/l/slurm-7.out"


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=30)
@given(value=TEXT, folder=TEXT)
def test_hostile_values_reach_the_processes_as_they_are(value: str, folder: str) -> None:
    text = sbatch_script(Topology(kind="slurm", env={"A": value}), f"/r/{folder}")
    kept = (
        text[text.index("\nrun=") : text.index("\npython=")]
        + text[text.index("\nexport A=") : text.index("\nexport OMP")]
    )
    done = subprocess.run(
        ["bash", "-c", f'{kept}\nprintf "%s\\0" "$run" "$A"'],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stdout.decode().split("\0")[:2] == [f"/r/{folder}", value]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"partition": "a\n#SBATCH --uid=0"}, "one line"),
        ({"sbatch": {"x": "a\nrm"}}, "one line"),
        ({"sbatch": {"Bad Name": "1"}}, "long option"),
        ({"array": "0-3"}, "0-7%1"),
        ({"log_folder": "a\nb"}, "one line"),
    ],
)
def test_no_value_becomes_a_line_of_its_own(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Topology(kind="slurm", **wrong)


def test_names_with_spaces_are_quoted_in_directives() -> None:
    (line,) = [line for line in script(**FULL).splitlines() if "--output" in line]
    assert shlex.split(line.removeprefix("#SBATCH ")) == ["--output=/shared/slurm logs/slurm-%j.out"]
