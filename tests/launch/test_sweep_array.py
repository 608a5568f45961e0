"""The script of an array of runs, and one on a real Slurm with a stand-in for the training."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import slurm_cluster

from forge.base.errors import UsageError
from forge.control.known import FACTS
from forge.launch.sweep import Member, Sweep
from forge.launch.sweep_array import array_script, look_again, submit_rest
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
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


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Slurm with two nodes."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        yield slurm_cluster.up(folder, 2, 26837)
    finally:
        slurm_cluster.down(folder)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(
    bool(slurm_cluster.missing()) or not os.environ.get("FORGE_FULL"),
    reason=f"a Slurm of its own is started with FORGE_FULL=1; {slurm_cluster.missing()}",
)
def test_the_runs_of_a_real_array(slurm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm)
    monkeypatch.setattr("forge.launch.slurm.TRAINS", "standin")
    environment = {"HOW": "0", "PYTHONPATH": str(HERE), "GLOO_SOCKET_IFNAME": "lo"}
    topology = replace(SLURM, nproc_per_node=1, cpus_per_node=1, memory_per_node="1000", env=environment)
    members = [Member(f"00{number}", {"x": str(number)}, str(tmp_path / f"00{number}")) for number in range(3)]
    sweep = Sweep(str(tmp_path), {"axes": {}}, members)

    def prepare(member: Member) -> str:
        folder = Path(member.output, "runs", "one")
        folder.mkdir(parents=True)
        (folder / FACTS).write_text(json.dumps({"config": "tiny", "project": "demo", "overrides": []}))
        return str(folder)

    assert submit_rest(sweep, topology, prepare, 2).isdecimal()
    end = time.monotonic() + 240
    while not all(member.done for member in members):
        time.sleep(1)
        look_again(sweep, lambda job: {"how": job.how})
        logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
        assert time.monotonic() < end, logs
        assert not any(member.state == "failed" for member in members), logs
    assert submit_rest(sweep, topology, prepare, 2) == ""
    ranks = [json.loads(Path(member.run, "rank-0.json").read_text()) for member in members]
    assert len(ranks) == 3
