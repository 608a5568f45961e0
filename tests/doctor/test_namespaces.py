"""The doctor on real hosts of a kind: network namespaces joined by veth, each with a name of its own, reached by a stand-in for ssh."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.doctor.between import examine_hosts
from forge.doctor.examine import DoctorsWish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Program

    from forge.doctor.row import DoctorRow

FULL = bool(os.environ.get("FORGE_FULL"))
ABLE = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip") and shutil.which("unshare")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="network namespaces are made with FORGE_FULL=1"),
    pytest.mark.skipif(FULL and not ABLE, reason="network namespaces need root, ip and unshare"),
]

PORT = 29400
ADDRESSES = {"hal": "10.78.0.1", "muthur": "10.78.0.2", "lone": "10.99.0.3"}
HOSTS = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20)


class Net:
    """Hosts on a bridge; ``lone`` is on a network of its own."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"fd{os.getpid()}"
        self.folder = folder
        self.switch = f"{self.mark}switch"

    def space(self, name: str) -> str:
        return f"{self.mark}{name}"

    def up(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge", "up")
        for number, (name, address) in enumerate(ADDRESSES.items()):
            space, port = self.space(name), f"port{number}"
            ip("netns", "add", space)
            ip("link", "add", "ve0", "netns", space, "type", "veth", "peer", "name", port, "netns", self.switch)
            ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "ve0")
            for link in ("lo", "ve0"):
                ip("-n", space, "link", "set", link, "up")
            self.knows(name, HOSTS)

    def knows(self, name: str, hosts: str) -> None:
        """What a host has in /etc/hosts."""
        (self.folder / f"{name}.hosts").write_text(hosts)

    def down(self) -> None:
        for space in (self.switch, *map(self.space, ADDRESSES)):
            subprocess.run(["ip", "netns", "del", space], check=False, timeout=20)

    def examine(self, *names: str) -> dict[str, DoctorRow]:
        rows = examine_hosts(list(names), DoctorsWish(str(self.folder / "runs"), PORT), sys.executable)
        return {f"{row.name} {row.host}".strip(): row for row in rows}


@pytest.fixture
def net(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    found = Net(tmp_path)
    hosts = shlex.quote(str(tmp_path))
    program(
        "ssh",
        "for word; do host=$last; last=$word; done\n"
        f"exec setsid --wait ip netns exec {found.mark}$host unshare --uts sh -c "
        f'"mount --bind {hosts}/$host.hosts /etc/hosts && hostname $host && $last"',
    )
    try:
        found.up()
        yield found
    finally:
        found.down()


def test_hosts_that_are_well(net: Net) -> None:
    rows = net.examine("hal", "muthur")
    assert rows["ports"].found == f"all 2 ways are open, on port {PORT} and on others"
    assert rows["gloo takes hal"].found.startswith("ve0 10.78.0.1")
    assert {rows[name].verdict for name in ("versions", "clocks", "shared folder", "bandwidth", "latency")} == {"good"}


def test_a_host_without_a_route(net: Net) -> None:
    rows = net.examine("hal", "muthur", "lone")
    assert rows["lone"].verdict == "bad"
    assert "it reaches none of the others, and none of them reaches it" in rows["lone"].found
    assert "no route" in rows["lone"].found
    assert not [name for name in rows if " to " in name]


def test_a_port_that_a_firewall_drops(net: Net) -> None:
    # What comes from the port is dropped: nothing comes back to who knocks, as where a firewall drops what goes there.
    ip("-n", net.space("muthur"), "rule", "add", "priority", "10", "ipproto", "tcp", "sport", str(PORT), "blackhole")
    row = net.examine("hal", "muthur")["hal to muthur"]
    assert (row.verdict, row.found) == ("bad", f"port {PORT} of muthur: filtered, timed out")
    assert "a firewall drops it" in row.remedy


def test_names_that_mean_the_host_itself_or_nothing(net: Net) -> None:
    net.knows("muthur", "127.0.0.1 localhost\n127.0.1.1 muthur\n")
    rows = net.examine("hal", "muthur")
    assert rows["host name muthur"].found.startswith("muthur means 127.0.1.1")
    assert rows["gloo takes muthur"].remedy.startswith("export GLOO_SOCKET_IFNAME=ve0")
    assert rows["muthur to hal"].found == "muthur does not know the name hal"


def test_packets_that_are_too_large_for_the_switch(net: Net) -> None:
    for name in ("hal", "muthur"):
        ip("-n", net.space(name), "link", "set", "ve0", "mtu", "9000")
    ip("-n", net.switch, "link", "set", "port0", "mtu", "9000")
    row = net.examine("hal", "muthur")["hal to muthur"]
    assert row.verdict == "bad"
    assert "small messages arrive and large ones do not" in row.found
