"""The script of an array of runs; test_real_slurm.py has one that runs."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from forge.base.errors import UsageError
from forge.launch.sweep_array import array_script
from forge.launch.topology import Topology

SLURM = Topology(kind="slurm", rdzv_endpoint="127.0.0.1")


def test_each_job_takes_its_own_run() -> None:
    script = array_script(SLURM, "/sweeps/lr 1", ["/a", "/b c", "/d"], 2)
    lines = script.splitlines()
    assert "#SBATCH --array=0-2%2" in lines
    assert "#SBATCH --output='/sweeps/lr 1/logs/slurm-%j.out'" in lines
    place = lines.index("runs=(/a '/b c' /d)")
    assert lines[place + 1] == 'run="${runs[$SLURM_ARRAY_TASK_ID]}"'
    assert not any(line.startswith("run=/") for line in lines)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    shell = "\n".join([*lines[place : place + 2], 'echo "$run"'])
    done = subprocess.run(
        ["bash", "-c", shell], env={"SLURM_ARRAY_TASK_ID": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "/b c\n"


@pytest.mark.parametrize("changes", [{"array": "0-7%1"}, {"sbatch": {"array": "1-3"}}, {"rdzv_id": "x"}])
def test_what_an_array_of_its_own_cannot_have(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"an array of jobs by itself|all meet under one id"):
        array_script(replace(SLURM, **changes), "/s", ["/a"], 1)
