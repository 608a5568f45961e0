"""The doctor on real hosts of a kind: network namespaces joined by veth, each with a name of its own, reached by a stand-in for ssh."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "launch"))
import namespaces
from clusters import demand
from namespaces import ip

from forge.doctor.between import examine_hosts
from forge.doctor.examine import DoctorsWish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Program

    from forge.doctor.row import DoctorRow

pytestmark = [
    pytest.mark.slow,
]
PORT = 29400


class Network(namespaces.Network):
    """Two hosts; ``lone`` is on a network of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ["hal", "muthur"], {"lone": "10.99.0.3"})

    def examine(self, *names: str) -> dict[str, DoctorRow]:
        """What the doctor finds between hosts."""
        rows = examine_hosts(list(names), DoctorsWish(str(self.folder / "runs"), PORT), sys.executable)
        return {f"{row.name} {row.host}".strip(): row for row in rows}


@pytest.fixture
def net(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    demand("setsid", *namespaces.PROGRAMS)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    with Network(tmp_path) as found:
        cases = (f'{name}) exec setsid --wait {_shell(found, name)} "$last" ;;' for name in found.addresses)
        lines = ["for word; do host=$last; last=$word; done", "case $host in", *cases, "esac"]
        program("ssh", "\n".join(lines))
        yield found


def _shell(net: Network, name: str) -> str:
    return shlex.join(net.command(name, "sh", "-c"))


def test_hosts_that_are_well(net: Network) -> None:
    rows = net.examine("hal", "muthur")
    assert rows["ports"].found == f"all 2 ways are open, on port {PORT} and on others"
    assert rows["gloo takes hal"].found.startswith("ve0 10.79.0.1")
    assert {rows[name].verdict for name in ("versions", "clocks", "shared folder", "bandwidth", "latency")} == {"good"}


def test_a_host_without_a_route(net: Network) -> None:
    rows = net.examine("hal", "muthur", "lone")
    assert rows["lone"].verdict == "bad"
    assert "it reaches none of the others, and none of them reaches it" in rows["lone"].found
    assert "no route" in rows["lone"].found
    assert not [name for name in rows if " to " in name]


def test_a_port_that_a_firewall_drops(net: Network) -> None:
    # What comes from the port is dropped: nothing comes back to who knocks, as where a firewall drops what goes there.
    ip("-n", net.space("muthur"), "rule", "add", "priority", "10", "ipproto", "tcp", "sport", str(PORT), "blackhole")
    row = net.examine("hal", "muthur")["hal to muthur"]
    assert (row.verdict, row.found) == ("bad", f"port {PORT} of muthur: filtered, timed out")
    assert "a firewall drops it" in row.remedy


def test_names_that_mean_the_host_itself_or_nothing(net: Network) -> None:
    net.knows("muthur", "127.0.0.1 localhost\n127.0.1.1 muthur\n")
    rows = net.examine("hal", "muthur")
    assert rows["host name muthur"].found.startswith("muthur means 127.0.1.1")
    assert rows["gloo takes muthur"].remedy.startswith("export GLOO_SOCKET_IFNAME=ve0")
    assert rows["muthur to hal"].found == "muthur does not know the name hal"


def test_packets_that_are_too_large_for_the_switch(net: Network) -> None:
    for name in ("hal", "muthur"):
        # A switch of the kernel lets several segments through that the kernel handed to it as one, however large they are.
        ip("-n", net.space(name), "link", "set", "ve0", "mtu", "9000", "gso_max_segs", "1")
    ip("-n", net.switch, "link", "set", net.port("hal"), "mtu", "9000")
    row = net.examine("hal", "muthur")["hal to muthur"]
    assert row.verdict == "bad"
    assert "small messages arrive and large ones do not" in row.found
