from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from forge.doctor import around
from forge.doctor.around import around_rows
from forge.launch.preflight_network import NetworkInterface

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Program


def rows(**environment: str) -> dict[str, around.DoctorRow]:
    return {row.name: row for row in around_rows(environment)}


def test_nothing_around() -> None:
    found = rows()
    assert {row.verdict for row in found.values()} == {"good"}
    assert {"nodes", "variables", "container", "Slurm", "Kubernetes"} <= set(found)


@pytest.mark.parametrize(
    ("environment", "verdict", "says"),
    [
        ({"NNODES": "2", "PET_NNODES": "4"}, "bad", "PET_NNODES=4 and NNODES=2 disagree"),
        ({"NNODES": "2", "MASTER_ADDR": "10.0.0.1"}, "warning", "without NODE_RANK"),
        ({"NNODES": "2", "NODE_RANK": "1"}, "warning", "without MASTER_ADDR"),
        ({"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}, "warning", "without NNODES"),
        ({"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}, "good", "NNODES=2, NODE_RANK=1"),
        ({"NNODES": "2", "PET_RDZV_ENDPOINT": "10.0.0.1:1"}, "good", "PET_RDZV_ENDPOINT"),
    ],
)
def test_variables_of_several_nodes(environment: dict[str, str], verdict: str, says: str) -> None:
    row = rows(**environment)["nodes"]
    assert row.verdict == verdict
    assert says in row.found


def test_variables_that_were_left_behind() -> None:
    row = rows(CUDA_LAUNCH_BLOCKING="1", NCCL_DEBUG="info", NCCL_TIMEOUT="300", NCCL_IB_DISABLE="0")["variables"]
    assert row.verdict == "warning"
    assert row.remedy == "unset CUDA_LAUNCH_BLOCKING NCCL_DEBUG NCCL_TIMEOUT"
    assert "nothing reads it" in row.found


@pytest.mark.parametrize(("address", "verdict"), [("172.17.0.2", "warning"), ("10.0.0.7", "good")])
def test_a_container_with_a_network_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, verdict: str
) -> None:
    monkeypatch.setattr(around, "_CONTAINERS", {str(tmp_path): "Docker"})
    one = NetworkInterface("eth0", address, up=True, loopback=False)
    monkeypatch.setattr("forge.launch.preflight_network.interfaces", lambda: [one])
    row = rows()["container"]
    assert (row.verdict, "--network host" in row.remedy) == (verdict, verdict == "warning")
    assert rows(KUBERNETES_SERVICE_HOST="10.96.0.1")["container"].found == "Docker"


def test_a_job_of_slurm_that_is_nearly_over(program: Program) -> None:
    end = str(int(time.time()) + 300)
    found = rows(SLURM_JOB_ID="7", SLURM_JOB_NODELIST="gpu[1-2]", SLURM_JOB_END_TIME=end)
    assert found["Slurm"].found == "job 7 on gpu[1-2]"
    assert found["time limit"].verdict == "warning"
    assert "launch.time=HH:MM:SS" in found["time limit"].remedy
    program("squeue", "date -d '+3 hours' +%Y-%m-%dT%H:%M:%S")
    assert rows(SLURM_JOB_ID="7")["time limit"].found.endswith("hours left")
    program("squeue", "echo NONE")
    assert "time limit" not in rows(SLURM_JOB_ID="7")


def test_slurm_and_kubernetes(program: Program) -> None:
    program("sinfo", "echo slurm 24.05.1")
    found = rows(KUBERNETES_SERVICE_HOST="10.96.0.1", HOSTNAME="tiny-0")
    assert found["Slurm"].found == "slurm 24.05.1, outside of a job"
    assert found["Kubernetes"].found == "tiny-0, of the cluster at 10.96.0.1"
