from __future__ import annotations

import os
import shlex
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import UsageError
from forge.launch.local import LocalLaunch, LocalPlan, local_launch, plan_local
from forge.launch.topology import Topology

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def flags(plan: LocalPlan) -> dict[str, str]:
    assert plan.flags is not None
    return dict(plan.flags)


def test_the_command_can_be_pasted() -> None:
    launch = local_launch("out put/runs/x", None)
    assert shlex.split(str(launch)) == ["PYTHONSAFEPATH=1", PYTHON, "-m", "forge.ml.train", "out put/runs/x"]
    assert launch.environment == {}


@given(value=st.text(), folder=st.text(min_size=1))
def test_hostile_values_are_quoted(value: str, folder: str) -> None:
    launch = plan_local(topology=Topology(nproc_per_node=2, env={"A": value})).launch(folder)
    words = shlex.split(str(launch))
    assert words[:2] == ["PYTHONSAFEPATH=1", f"A={value}"]
    assert words[-1] == folder
    assert tuple(words[1 + len(launch.environment) :]) == launch.command


@pytest.mark.parametrize(("devices", "visible"), [("cpu", ""), ("0", "0"), ("3", "3")])
def test_a_device_is_chosen_by_what_the_process_sees(devices: str, visible: str) -> None:
    launch = local_launch("run", devices)
    assert launch.environment == {"CUDA_VISIBLE_DEVICES": visible}
    assert str(launch).startswith(f"PYTHONSAFEPATH=1 CUDA_VISIBLE_DEVICES={shlex.quote(visible)} ")


@pytest.mark.parametrize("devices", ["gpu", "", "-1", "0,", "0,0"])
def test_what_names_no_devices_is_refused(devices: str) -> None:
    with pytest.raises(UsageError):
        plan_local(devices)


def test_several_processes_are_torchruns() -> None:
    command = plan_local(nproc=2).launch("run").command
    assert command == (
        *(PYTHON, "-m", "forge.launch.node", "run"),
        *(PYTHON, "-m", "forge.launch.agent", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "forge.launch.rank", "forge.ml.train", "run"),
    )


@pytest.mark.parametrize(
    ("plan", "processes"),
    [
        (lambda: plan_local("0,1,3"), "3"),
        (lambda: plan_local("0,1,3", 2), "2"),
        (lambda: plan_local("cpu", 2), "2"),
        (lambda: plan_local(topology=Topology(nproc_per_node=4)), "4"),
        (lambda: plan_local(nproc=2, topology=Topology(nproc_per_node=4)), "2"),
        (lambda: plan_local(nproc=2, words=["--nproc-per-node", "3"]), "3"),
        (lambda: plan_local(words=["--nproc_per_node=auto"]), "auto"),
    ],
)
def test_how_many_processes_there_are(plan: object, processes: str) -> None:
    assert callable(plan)
    assert flags(plan())["nproc-per-node"] == processes


def test_each_flag_of_torchrun_takes_the_place_of_its_own_default() -> None:
    topology = Topology(nproc_per_node=2, max_restarts=3)
    assert flags(plan_local(topology=topology)) == {"standalone": "", "nproc-per-node": "2", "max-restarts": "3"}
    changed = flags(plan_local(topology=topology, words=["--max-restarts", "0"]))
    assert changed == {"standalone": "", "nproc-per-node": "2", "max-restarts": "0"}
    added = flags(plan_local(topology=topology, words=["--monitor-interval=1"]))
    assert added == {"standalone": "", "nproc-per-node": "2", "max-restarts": "3", "monitor-interval": "1"}


@pytest.mark.parametrize(("devices", "nproc"), [("0", 2), ("0,1", 3), (None, 0), ("cpu", -1)])
def test_numbers_that_cannot_be(devices: str | None, nproc: int) -> None:
    with pytest.raises(UsageError):
        plan_local(devices, nproc)


def test_processes_share_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert plan_local("cpu", 2).environment == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4"}
    assert plan_local("cpu", 64).environment["OMP_NUM_THREADS"] == "1"
    assert plan_local("0,1").environment["OMP_NUM_THREADS"] == "1"
    assert plan_local("cpu").environment == {"CUDA_VISIBLE_DEVICES": ""}
    assert plan_local("cpu", 2, topology=Topology(env={"OMP_NUM_THREADS": "3"})).environment["OMP_NUM_THREADS"] == "3"


TUTORIAL = "--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id 1"


def test_the_two_commands_by_hand() -> None:
    host = plan_local(words=[*shlex.split(TUTORIAL), "--rdzv-endpoint", "localhost", "--rdzv-conf", "is_host=true"])
    assert flags(host)["rdzv-endpoint"] == "localhost:29400"
    assert flags(host)["rdzv-conf"] == "is_host=true"
    assert host.meeting is not None
    assert host.meeting.words() == ("--host", "localhost:29400", "--nodes", "2", "--id", "1")
    other = plan_local(words=[*shlex.split(TUTORIAL), "--rdzv-endpoint", "192.0.2.77:29400"])
    assert flags(other)["rdzv-conf"] == "is_host=false"
    assert other.joins


def test_the_host_is_found_out_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--nnodes=2", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-conf", "timeout=9"]
        assert flags(plan_local(words=words))["rdzv-conf"] == "timeout=9,is_host=false"  # another one has the port
    assert flags(plan_local(words=words))["rdzv-conf"] == "timeout=9,is_host=true"
    monkeypatch.setattr("forge.launch.local.is_own", lambda _: True)
    far = ["--nnodes=2", "--rdzv-endpoint", f"10.9.9.9:{port}", "--rdzv-conf"]
    assert plan_local(words=[*far, "is_host=0"]).joins
    assert not plan_local(words=[*far, "is_host=1"]).joins


def test_the_environment_of_a_node_is_read() -> None:
    around = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29501", "NNODES": "2", "NODE_RANK": "1", "NPROC_PER_NODE": "4"}
    plan = plan_local(around=around)
    assert flags(plan) == {
        "nnodes": "2",
        "nproc-per-node": "4",
        "node-rank": "1",
        "master-addr": "10.0.0.1",
        "master-port": "29501",
        "rdzv-backend": "static",
    }
    assert plan.joins
    assert not plan_local(around={**around, "NODE_RANK": "0"}).joins
    assert flags(plan_local(around=around, nproc=2))["nproc-per-node"] == "2"
    assert plan_local(around={**around, "NNODES": "1"}).flags is None


def test_elastic_nodes_have_no_roll_call() -> None:
    plan = plan_local(topology=Topology(nodes=2, min_nodes=1, max_nodes=4, rdzv_endpoint="192.0.2.7"))
    assert flags(plan)["nnodes"] == "1:4"
    assert plan.meeting is None
    assert plan.launch("run").command[:4] == (PYTHON, "-m", "forge.launch.node", "run")


@pytest.mark.parametrize(
    ("words", "topology", "around", "says"),
    [
        ([], Topology(nodes=2), {}, "need a place to meet"),
        (["--nnodes", "2"], None, {}, "need a place to meet"),
        (["--nnodes", "two", "--rdzv-endpoint", "a"], None, {}, "a number of nodes"),
        (["--nnodes", "2", "--standalone", "--rdzv-endpoint", "a"], None, {}, "--standalone is for one node"),
        (["--nnodes=2", "--rdzv-backend=static", "--master-addr=a"], None, {}, "have numbers"),
        ([], None, {"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "a"}, "there is no node 2 among 2"),
        ([], Topology(nodes=4), {"NNODES": "2"}, "launch.nodes=4 and NNODES=2 disagree"),
        ([], None, {"NNODES": "2", "PET_NNODES": "4"}, "PET_NNODES=4 and NNODES=2 disagree"),
        (["--nnodes=2", "--rdzv-endpoint=a", "--rdzv-conf=is_host"], None, {}, "name=value"),
    ],
)
def test_nodes_that_cannot_meet(words: list[str], topology: Topology | None, around: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        plan_local(words=words, topology=topology, around=around)


def test_who_says_it_on_the_line_decides() -> None:
    plan = plan_local(words=["--nnodes=2", "--rdzv-endpoint=192.0.2.7"], around={"NNODES": "2", "PET_NNODES": "4"})
    assert flags(plan)["nnodes"] == "2"


def test_a_launch_is_shown_without_variables_too() -> None:
    assert str(LocalLaunch(("a", "b c"))) == "a 'b c'"


def test_nodes_are_at_most_no_fewer_than_at_least() -> None:
    words = ["--nnodes", "3:1", "--rdzv-endpoint", "127.0.0.1:29400"]
    with pytest.raises(UsageError, match="more nodes at least than at most"):
        plan_local(words=words)
