from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from forge.launch import preflight_node
from forge.launch.preflight_devices import Devices
from forge.launch.preflight_network import NetworkInterface
from forge.launch.preflight_node import all_hosts, forge_source, node_names, node_number, node_problems, node_ways

if TYPE_CHECKING:
    from conftest import Start


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("n1", ["n1"]),
        ("gpu[08-10,3],login", ["gpu08", "gpu09", "gpu10", "gpu3", "login"]),
        ("a[1-2]b,c", ["a1b", "a2b", "c"]),
        ("odd[x-y]", ["oddx-y"]),
    ],
)
def test_the_nodes_of_a_list(text: str, hosts: list[str]) -> None:
    assert all_hosts(text) == hosts


def test_who_this_node_is() -> None:
    assert node_number({"SLURM_NODEID": "3", "NODE_RANK": "1"}) == 3
    assert node_number({"PET_NODE_RANK": "0"}) == 0
    assert node_number({}) is node_number({"NODE_RANK": "first"}) is None
    assert node_names("a,b", {"SLURM_JOB_NODELIST": "n[1-2]"}) == ("a", "b")
    assert node_names("", {"SLURM_JOB_NODELIST": "n[1-2]"}) == ("n1", "n2")
    assert node_names("", {}) == ()


def test_what_a_node_is_told_has_to_fit_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_node, "devices_here", lambda: Devices(2, 8))
    command = ["python", "-m", "torch.distributed.run", "--nproc-per-node", "4", "-m", "x"]
    (problem,) = node_problems(command, {})
    assert problem.startswith("4 processes do not fit on 2 GPUs, each takes one: start 2")
    assert node_problems(command, {"CUDA_VISIBLE_DEVICES": ""}) == []
    (problem,) = node_problems([*command[:3], "-m", "x"], {"PET_NPROC_PER_NODE": "3"})
    assert problem.startswith("3 processes do not fit on 2 GPUs")
    assert node_problems(["python", "--nproc-per-node"], {}) == node_problems(["--nproc-per-node", "auto"], {}) == []


def test_the_code_of_forge_has_a_hash() -> None:
    assert re.fullmatch(r"[0-9a-f]{8}", forge_source())
    assert forge_source() == forge_source()


def test_the_way_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        NetworkInterface("lo", "127.0.0.1", up=True, loopback=True),
        NetworkInterface("docker0", "172.17.0.1", up=True, loopback=False),
        NetworkInterface("br-1", "172.18.0.1", up=True, loopback=False),
        NetworkInterface("eth0", "10.0.0.7", up=True, loopback=False),
    ]
    monkeypatch.setattr(preflight_node, "interfaces", lambda: found)
    monkeypatch.setattr("forge.launch.preflight_network.host_addresses", lambda: ["127.0.1.1"])
    for gpus, more in ((0, {}), (8, {"NCCL_SOCKET_IFNAME": "eth0"})):
        monkeypatch.setattr(preflight_node, "devices_here", lambda gpus=gpus: Devices(gpus, 8))
        assert node_ways("10.0.0.7", {}) == {"GLOO_SOCKET_IFNAME": "eth0", **more}


@pytest.mark.parametrize("meets", [False, True])
def test_a_node_says_that_it_cannot_start(start: Start, *, meets: bool) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    options = ("--host", where, "--nodes", "2", "--id", "7", "--patience", "0.3") if meets else ()
    process = start("--nproc-per-node", "2", how="0", options=options, CUDA_VISIBLE_DEVICES="98,99")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "error: " in errors
    assert "98,99" in errors or "GPU 98, 99 is not on this machine" in errors
