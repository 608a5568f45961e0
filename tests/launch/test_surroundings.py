from __future__ import annotations

import pytest

from forge.base.errors import UsageError
from forge.launch.surroundings import first_host, surroundings

SLURM = {
    "SLURM_PROCID": "1",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NODELIST": "gpu[03-04]",
    "SLURM_JOB_ID": "41234",
    "SLURM_GPUS_ON_NODE": "8",
}
PYTORCHJOB = {  # as the operator sets them; RANK and WORLD_SIZE count nodes there, and nobody must trust them
    "PYTHONUNBUFFERED": "1",
    "MASTER_ADDR": "sft-master-0",
    "MASTER_PORT": "23456",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "PET_NPROC_PER_NODE": "4",
    "PET_NNODES": "2",
    "PET_NODE_RANK": "1",
    "PET_MASTER_ADDR": "sft-master-0",
    "PET_MASTER_PORT": "23456",
}
SKYPILOT = {
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8",
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n",
}


@pytest.mark.parametrize(
    ("environment", "facts"),
    [
        ({}, {}),
        ({"MASTER_ADDR": "a", "RANK": "1"}, {"master-addr": "a"}),
        (
            SLURM,
            {"nnodes": "2", "node-rank": "1", "nproc-per-node": "8", "master-addr": "gpu03", "master-port": "21234"},
        ),
        (
            PYTORCHJOB,
            {
                "nnodes": "2",
                "node-rank": "1",
                "nproc-per-node": "4",
                "master-addr": "sft-master-0",
                "master-port": "23456",
            },
        ),
        (SKYPILOT, {"nnodes": "2", "node-rank": "1", "nproc-per-node": "8", "master-addr": "10.0.0.1"}),
        (
            {"PET_RDZV_ENDPOINT": "w-0:1", "PET_RDZV_BACKEND": "c10d", "PET_NNODES": "1:3", "PET_MAX_RESTARTS": "5"},
            {"rdzv-endpoint": "w-0:1", "rdzv-backend": "c10d", "nnodes": "1:3", "max-restarts": "5"},
        ),
        (
            {**SLURM, "MASTER_ADDR": "x", "MASTER_PORT": "1"},
            {
                **dict.fromkeys(["nnodes"], "2"),
                "node-rank": "1",
                "nproc-per-node": "8",
                "master-addr": "x",
                "master-port": "1",
            },
        ),
        ({key: SLURM[key] for key in SLURM if key != "SLURM_PROCID"}, {}),  # the shell of an allocation
        ({**SLURM, "SLURM_NNODES": "1"}, {}),
        ({"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "0"}, {"nnodes": "2"}),  # machines without GPUs
        ({"SLURM_PROCID": "0", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "0"}, {"nnodes": "2"}),
        ({"SLURM_PROCID": "0", "SLURM_NNODES": "some"}, {}),
    ],
)
def test_what_each_cluster_says(environment: dict[str, str], facts: dict[str, str]) -> None:
    assert surroundings(environment).values() == facts


def test_one_node_is_not_several() -> None:
    assert surroundings(PYTORCHJOB).several
    assert surroundings({"PET_NNODES": "1:3"}).several
    assert not surroundings({"NNODES": "1"}).several
    assert not surroundings({}).several


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({**SLURM, "NNODES": "4"}, "NNODES=4 and SLURM_NNODES=2 disagree on the number of nodes"),
        (
            {**PYTORCHJOB, "MASTER_ADDR": "b"},
            "PET_MASTER_ADDR=sft-master-0 and MASTER_ADDR=b disagree on the first node",
        ),
        ({"NODE_RANK": "one"}, "NODE_RANK is a whole number"),
        ({"NNODES": "0"}, "NNODES is a number of nodes"),
        ({"PET_NNODES": "1:2:3"}, "least:most"),
        ({"NNODES": "3:1"}, "NNODES=3:1 has more nodes at least than at most"),
        (
            {"NPROC_PER_NODE": "foo"},
            "NPROC_PER_NODE is a whole number of at least 1, or auto, cpu, gpu or xpu, not 'foo'",
        ),
        ({"PET_NPROC_PER_NODE": "0"}, "PET_NPROC_PER_NODE is a whole number of at least 1"),
        ({"PET_MAX_RESTARTS": "-1"}, "PET_MAX_RESTARTS is a whole number of at least 0"),
    ],
)
def test_what_cannot_be_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        surroundings(environment)


def test_what_is_decided_is_not_asked_for() -> None:
    assert surroundings({"NNODES": "2", "PET_NNODES": "4", "NODE_RANK": "0"}, {"nnodes": ""}).values() == {
        "node-rank": "0"
    }


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("gpu[03-07,9],x", "gpu03"), ("n1,n2", "n1"), ("rack[1,3]-gpu", "rack1-gpu"), ("a-[9]", "a-9")],
)
def test_the_first_of_slurms_hosts(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"LOCAL_RANK": "0", "RANK": "0"}, "LOCAL_RANK=0: this is one process of several"),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)"}, "srun has started 8 tasks on a node"),
    ],
)
def test_one_process_of_several_starts_nothing(environment: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        surroundings(environment)
    assert surroundings({"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "LOCAL_RANK": "", "RANK": "1"}).facts == {}
