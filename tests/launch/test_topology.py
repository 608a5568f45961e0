"""Topologies as values."""

from __future__ import annotations

from typing import Any

import pytest

from forge.launch.topology import Mount, Topology

ELASTIC = {"kind": "k8s_pytorchjob_elastic", "image": "forge:1"}
JOB = {"kind": "k8s_job", "image": "forge:1"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "pbs"}, "kind is one of local, ssh, slurm"),
        ({"nodes": 0}, "nodes is at least 1"),
        ({"nproc_per_node": 0}, "nproc_per_node is at least 1"),
        ({"max_restarts": -1}, "max_restarts is at least 0"),
        ({"gpus_per_node": -1}, "gpus_per_node is at least 0"),
        ({"partition": "gpu"}, "partition belongs to slurm; it means nothing to local"),
        ({"kind": "slurm", "hosts": ["a"]}, "hosts belongs to ssh"),
        ({"kind": "slurm", "time": "a day"}, "hours:minutes:seconds"),
        ({"kind": "ssh", "nodes": 2, "hosts": ["a"]}, "one host for each of 2 nodes, and hosts has 1"),
        ({"kind": "ssh", "hosts": ["-oProxyCommand=x"]}, "does not begin with a dash"),
        ({"kind": "ssh", "hosts": ["a b"]}, "without spaces"),
        ({"kind": "ssh", "hosts": ["a:x"]}, "written name, or name:processes, not 'a:x'"),
        ({"kind": "ssh", "hosts": ["a:"]}, "name:processes"),
        ({"kind": "ssh", "hosts": ["fe80::1"]}, "addresses with colons"),
        (
            {"kind": "ssh", "nodes": 2, "hosts": ["a:2", "a"]},
            "hosts has a twice: several processes of one host are written a:2",
        ),
        ({"kind": "slurm", "cpus_per_node": 0}, "cpus_per_node is at least 1"),
        ({"kind": "slurm", "sbatch": {"nodes": 3}}, "sbatch.nodes says how many processes there are"),
        ({"kind": "slurm", "array": "7-0%1"}, "array is written 0-7%1"),
        ({"rdzv_backend": "etcd"}, "c10d or static"),
        ({"rdzv_endpoint": "http://a"}, "host or host:port"),
        ({"min_nodes": 1}, "both min_nodes and max_nodes"),
        ({"nodes": 5, "min_nodes": 1, "max_nodes": 4}, "have to ascend"),
        ({"min_nodes": 1, "max_nodes": 1, "rdzv_backend": "static"}, "needs rdzv_backend c10d"),
        ({"nodes": 2, "rdzv_backend": "static"}, "set rdzv_backend to c10d"),
        (ELASTIC, "needs min_nodes and max_nodes"),
        ({"kind": "k8s_job"}, "needs the container image"),
        ({"kind": "k8s_job", "image": "forge:1", "job_name": "My_Job"}, "small letters"),
        ({"job_name": "a b"}, "without spaces"),
        ({**JOB, "image": "a b"}, "needs the container image"),
        ({**JOB, "job_name": "a" * 62}, "at most 61 small letters"),
        ({**JOB, "nodes": 11, "job_name": "a" * 61}, "at most 60 small letters"),
        ({**JOB, "kind": "k8s_pytorchjob", "job_name": "a" * 55}, "at most 54 small letters"),
        ({**JOB, "kind": "k8s_trainjob", "job_name": "a" * 49}, "at most 48 small letters"),
        ({**ELASTIC, "min_nodes": 1, "max_nodes": 11, "job_name": "a" * 54}, "at most 53 small letters"),
        ({**JOB, "namespace": "My team"}, "namespace is a name of small letters"),
        ({**JOB, "queue": "Q"}, "queue is a name of small letters"),
        ({**JOB, "kind": "k8s_trainjob", "runtime": "A B"}, "runtime is a name of small letters"),
        ({**JOB, "memory_per_node": "64GB"}, "memory_per_node is written 64Gi or 64G on Kubernetes, not '64GB'"),
        ({**JOB, "mounts": [Mount("a", "/x"), Mount("b", "/x/")]}, "mounts has /x twice"),
        ({**JOB, "time": "00:00:00"}, "time is more than 00:00:00: leave it null"),
        ({"kind": "slurm", "time": "99:99:99"}, "hours:minutes:seconds"),
        ({"kind": "slurm", "time": "1:1:1"}, "hours:minutes:seconds"),
        ({"kind": "slurm", "time": "00:02:00"}, "told to save 180 seconds before its time of 00:02:00 is over"),
        ({"kind": "slurm", "signal_seconds": 65536}, "signal_seconds is at most 65535"),
        ({"env": {"A B": "1"}}, "not a name of an environment variable"),
    ],
)
def test_a_topology_that_cannot_be_is_refused_with_the_reason(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Topology(**wrong)


def test_what_is_written_for_slurm_and_kubernetes_is_taken() -> None:
    assert Topology(kind="slurm", time="100:00:00").seconds == 360_000
    assert Topology(kind="slurm", time="00:05:00", signal_seconds=60).seconds == 300
    for memory in ("64Gi", "64G", "1.5Ti", "1000"):
        assert Topology(**JOB, memory_per_node=memory).memory_per_node == memory
    assert Topology(**JOB, mounts=[Mount("7.data", "/data"), Mount("7.data", "/more")]).mounts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({**JOB, "node_selector": {"gpu": True}}, "node_selector.gpu is text: write it in quotes, as 'True'"),
        (
            {"kind": "slurm", "sbatch": {"exclusive": True}},
            "sbatch.exclusive is text: .* '' for an option without a value",
        ),
        ({"kind": "slurm", "sbatch": {"reservation": None}}, "sbatch.reservation is text"),
    ],
)
def test_a_value_that_is_no_text_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Topology(**changes)


def test_a_variable_that_is_no_text_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(TypeError, match="write it in quotes, as '1'"):
        Topology(env={"NCCL_DEBUG": 1})


@pytest.mark.parametrize(
    "wrong",
    [{"claim": "My Data", "path": "/data"}, {"claim": "data", "path": "data"}, {"claim": "data", "path": "/a:b"}],
)
def test_a_mount_needs_a_claim_and_an_absolute_path(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="volume"):
        Mount(**wrong)


def test_a_topology_counts_its_processes() -> None:
    topology = Topology(kind="slurm", nodes=4, nproc_per_node=8, time="1-00:00:00")
    assert topology.ranks == 32
    assert not topology.elastic


def test_lists_of_a_config_become_tuples() -> None:
    topology = Topology(kind="k8s_job", image="forge:1", mounts=[Mount("data", "/data")])
    assert topology.mounts == (Mount("data", "/data"),)


def test_an_elastic_topology_says_so() -> None:
    assert Topology(**ELASTIC, nodes=2, min_nodes=1, max_nodes=4).elastic
