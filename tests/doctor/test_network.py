from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from forge.doctor import network
from forge.doctor.network import endpoint_row, name_rows, network_rows
from forge.launch.address import Endpoint
from forge.launch.preflight_devices import Devices
from forge.launch.preflight_network import NetworkInterface

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    Look: TypeAlias = Callable[..., dict[str, network.DoctorRow]]

LO = NetworkInterface("lo", "127.0.0.1", up=True, loopback=True, mtu=65536)
ETH = NetworkInterface("eth0", "10.0.0.7", up=True, loopback=False, mtu=1500, speed=10000)
DOCKER = NetworkInterface("docker0", "172.17.0.1", up=True, loopback=False, mtu=1500)
BRIDGE = NetworkInterface("br-12", "172.18.0.1", up=True, loopback=False, mtu=1500)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Look:
    """The rows of a machine with these interfaces, whose name means these addresses."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NCCL_IB_DISABLE"):
        monkeypatch.delenv(name, raising=False)

    def look(
        *found: NetworkInterface, means: tuple[str, ...] = ("10.0.0.7",), gpus: int = 8
    ) -> dict[str, network.DoctorRow]:
        monkeypatch.setattr(network, "interfaces", lambda: list(found))
        monkeypatch.setattr(network, "host_addresses", lambda: list(means))
        monkeypatch.setattr("forge.launch.preflight_network.host_addresses", lambda: list(means))
        monkeypatch.setattr(network, "devices_here", lambda: Devices(gpus, 2))
        monkeypatch.setattr(network, "is_own", lambda host: host in means and host.startswith("10."))
        return {row.name: row for row in (*name_rows(), *network_rows(29400))}

    return look


def test_a_network_as_it_should_be(rows: Look) -> None:
    found = rows(LO, ETH)
    assert found["interfaces"].found == "eth0 10.0.0.7 (MTU 1500, 10 Gbit/s)"
    assert found["gloo takes"].found.startswith("eth0 10.0.0.7: the host name ")
    assert found["NCCL takes"].found == "eth0 10.0.0.7: it is the first"
    assert {row.verdict for name, row in found.items() if name != "meeting port"} == {"good"}
    assert "need port 29400 and" in found["firewall"].found


def test_a_name_that_means_the_machine_itself(rows: Look) -> None:
    found = rows(LO, ETH, means=("127.0.1.1",))
    assert found["host name"].verdict == "warning"
    assert found["host name"].remedy.startswith(
        f"`10.0.0.7 {socket.gethostname()}` in /etc/hosts, in place of 127.0.1.1"
    )
    assert found["gloo takes"].verdict == "warning"
    assert found["gloo takes"].remedy.startswith("export GLOO_SOCKET_IFNAME=eth0")


def test_names_that_mean_nothing_or_another_machine(rows: Look) -> None:
    assert "nobody knows what" in rows(LO, ETH, means=())["host name"].found
    found = rows(LO, ETH, means=("192.0.2.1",))
    assert (found["host name"].verdict, found["gloo takes"].verdict) == ("bad", "warning")


def test_nccl_takes_a_bridge_of_containers(rows: Look) -> None:
    found = rows(LO, BRIDGE, ETH)
    assert found["NCCL takes"].found == "br-12 172.18.0.1: it is the first"
    assert found["NCCL takes"].remedy.startswith("export NCCL_SOCKET_IFNAME=eth0")
    assert "for containers and tunnels: br-12" in found["interfaces"].found
    assert rows(LO, DOCKER, ETH)["NCCL takes"].verdict == "good"  # which it knows by itself
    assert "not used without GPUs" in rows(LO, BRIDGE, ETH, gpus=0)["NCCL takes"].found


def test_a_variable_that_names_no_interface(rows: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "enp1")
    found = rows(LO, ETH)["gloo takes"]
    assert (found.verdict, found.remedy) == ("bad", "export GLOO_SOCKET_IFNAME=eth0")
    assert "there is no enp1" in found.found


def test_no_network_and_small_packets(rows: Look) -> None:
    assert rows(LO)["interfaces"].verdict == "warning"
    assert "packets of eth0 are small" in rows(LO, ETH._replace(mtu=576))["interfaces"].found


def test_infiniband(rows: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_INFINIBAND", str(tmp_path))
    for name, state in {"mlx5_0": "4: ACTIVE\n", "mlx5_1": "1: DOWN\n"}.items():
        (tmp_path / name / "ports" / "1").mkdir(parents=True)
        (tmp_path / name / "ports" / "1" / "state").write_text(state)
    found = rows(LO, ETH)["InfiniBand"]
    assert (found.verdict, found.found) == ("warning", "mlx5_0/1 ACTIVE, mlx5_1/1 DOWN")
    assert "NCCL_IB_HCA=^mlx5_1" in found.remedy
    (tmp_path / "mlx5_1" / "ports" / "1" / "state").write_text("4: ACTIVE\n")
    assert rows(LO, ETH)["InfiniBand"].verdict == "good"
    monkeypatch.setenv("NCCL_IB_DISABLE", "1")
    assert rows(LO, ETH)["InfiniBand"].remedy == "unset NCCL_IB_DISABLE"


def test_the_meeting_port_and_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        row = {row.name: row for row in network_rows(port)}["meeting port"]
        assert row.verdict == "warning"
        assert f"(process {os.getpid()})" in row.found
        place = endpoint_row(Endpoint("127.0.0.1", port))
        assert (place.verdict, place.name) == ("good", "meeting place")
    assert "this machine, and free" in endpoint_row(Endpoint("127.0.0.1", port)).found


def test_a_meeting_place_that_nobody_knows() -> None:
    row = endpoint_row(Endpoint("nosuch.invalid", 29400))
    assert (row.verdict, row.found.split(":")[1]) == ("bad", "29400 is unknown name")
    assert "/etc/hosts" in row.remedy
