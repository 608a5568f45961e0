from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from forge.launch import preflight_network
from forge.launch.preflight_network import (
    NetworkInterface,
    gloo_pick,
    host_addresses,
    interfaces,
    nccl_pick,
    way_lines,
)

if TYPE_CHECKING:
    from pathlib import Path


def one(name: str, address: str, *, up: bool = True, loopback: bool = False) -> NetworkInterface:
    return NetworkInterface(name, address, up, loopback, 1500)


LO = one("lo", "127.0.0.1", loopback=True)
DOCKER, BRIDGE = one("docker0", "172.17.0.1"), one("br-1", "172.18.0.1")
ETH, ENO, IB = one("eth0", "10.0.0.7"), one("eno1", "10.1.0.7"), one("ib0", "10.9.0.7")


def test_the_loopback_of_this_machine() -> None:
    found = {each.name: each for each in interfaces()}
    assert (found["lo"].address, found["lo"].up, found["lo"].loopback) == ("127.0.0.1", True, True)
    assert (found["lo"].mtu or 0) > 1000
    assert not found["lo"].leads_out
    assert host_addresses("127.0.0.1") == ["127.0.0.1"]
    assert host_addresses("nosuch.invalid") == []


def test_addresses_of_ipv6_and_speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "if_inet6").write_text(
        "fe800000000000000000000000000001 02 40 20 80       lo\nfd000000000000000000000000000002 02 40 00 00       lo\n"
    )
    monkeypatch.setattr(preflight_network, "_ADDRESSES_6", str(tmp_path / "if_inet6"))
    assert preflight_network._addresses_6() == {"lo": "fd00::2"}
    (tmp_path / "lo").mkdir()
    monkeypatch.setattr(preflight_network, "_SYSTEM", str(tmp_path))
    for text, speed in (("10000\n", 10000), ("-1\n", None), ("", None)):
        (tmp_path / "lo" / "speed").write_text(text)
        assert next(each for each in interfaces() if each.name == "lo").speed == speed


@pytest.mark.parametrize(
    ("environment", "means", "name", "address"),
    [
        ({}, ["10.1.0.7"], "eno1", "10.1.0.7"),
        ({}, ["127.0.1.1"], "lo", "127.0.1.1"),
        ({}, [], "lo", "127.0.0.1"),
        ({}, ["192.0.2.1"], "lo", "127.0.0.1"),
        ({}, ["192.0.2.1", "10.0.0.7"], "eth0", "10.0.0.7"),
        ({"GLOO_SOCKET_IFNAME": "eth0"}, ["127.0.1.1"], "eth0", "10.0.0.7"),
        ({"GLOO_SOCKET_IFNAME": "eth0,eno1"}, [], "eth0", "10.0.0.7"),
        ({"GLOO_SOCKET_IFNAME": "enp7"}, ["10.0.0.7"], "", ""),
    ],
)
def test_what_gloo_takes(environment: dict[str, str], means: list[str], name: str, address: str) -> None:
    found = gloo_pick(environment, [LO, ETH, ENO], means)
    assert (found.name, found.address) == (name, address)
    assert found.why


@pytest.mark.parametrize(
    ("environment", "found", "name"),
    [
        ({}, [LO, DOCKER, ETH], "eth0"),
        ({}, [LO, BRIDGE, ETH], "br-1"),
        ({}, [LO, ETH, IB], "ib0"),
        ({}, [LO, one("eth1", ""), one("eth2", "10.0.0.8", up=False), ENO], "eno1"),
        ({}, [DOCKER, LO], "docker0"),
        ({}, [LO], "lo"),
        ({}, [], ""),
        ({"NCCL_SOCKET_IFNAME": "en"}, [LO, ETH, ENO], "eno1"),
        ({"NCCL_SOCKET_IFNAME": "^eth,lo"}, [LO, ETH, ENO], "eno1"),
        ({"NCCL_SOCKET_IFNAME": "=en,eno1"}, [LO, ETH, ENO], "eno1"),
        ({"NCCL_SOCKET_IFNAME": "^=eth"}, [ETH, ENO], "eth0"),
        ({"NCCL_SOCKET_IFNAME": "wlan"}, [LO, ETH], ""),
    ],
)
def test_what_nccl_takes(environment: dict[str, str], found: list[NetworkInterface], name: str) -> None:
    assert nccl_pick(environment, found).name == name


def ways(address: str, environment: dict[str, str], *found: NetworkInterface, gpus: bool = True) -> dict[str, str]:
    return way_lines(address, environment, found, gpus=gpus)


def test_the_way_to_the_others_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_network, "host_addresses", lambda: ["127.0.1.1"])
    both = {"GLOO_SOCKET_IFNAME": "eno1", "NCCL_SOCKET_IFNAME": "eno1"}
    assert ways("10.1.0.7", {}, LO, ETH, ENO) == both
    assert ways("10.1.0.7", {}, LO, ETH, ENO, gpus=False) == {"GLOO_SOCKET_IFNAME": "eno1"}
    assert ways("10.1.0.7", {}, LO, ENO) == {"GLOO_SOCKET_IFNAME": "eno1"}
    # What somebody has said stays, InfiniBand is not given up, and the loopback is no way to another machine.
    assert ways("10.1.0.7", dict.fromkeys(both, "eth0"), LO, ETH, ENO) == {}
    assert ways("10.1.0.7", {}, LO, ENO, IB) == {"GLOO_SOCKET_IFNAME": "eno1"}
    assert ways("127.0.0.1", {}, LO, ENO) == ways("10.5.0.1", {}, LO, ENO) == {}
    monkeypatch.setattr(preflight_network, "host_addresses", lambda: ["10.1.0.7"])
    assert ways("10.1.0.7", {}, LO, ENO) == {}
    assert socket.gethostname() in gloo_pick({}, [LO, ENO]).why
