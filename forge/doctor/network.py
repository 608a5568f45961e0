"""The network as this host sees it: its interfaces, what gloo and NCCL make of them, what its name means, the port to meet at."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from forge.doctor.row import DoctorRow
from forge.launch.address import is_free, is_own
from forge.launch.preflight_devices import devices_here
from forge.launch.preflight_network import gloo_pick, host_addresses, interfaces, nccl_pick
from forge.launch.preflight_reach import knock, port_holder, reach_advice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.launch.address import Endpoint
    from forge.launch.preflight_network import NetworkInterface, PickedInterface

__all__ = ["endpoint_row", "name_rows", "network_rows"]

_SECTION: Final = "network"
_INFINIBAND: Final = "/sys/class/infiniband"
_PORTS: Final = "/proc/sys/net/ipv4/ip_local_port_range"
_SMALLEST: Final = 1280
_LONGEST: Final = 4096
_ITSELF: Final = "(`forge train` does so by itself when several machines meet)"


def name_rows() -> list[DoctorRow]:
    """What the host's own name means."""
    name, found = socket.gethostname(), host_addresses()
    if not found:
        says = f"nobody knows what {name}, this host's own name, means"
        return [DoctorRow("names", "host name", "warning", says, f"enter its address in /etc/hosts: {_outer()} {name}")]
    inner = [address for address in found if address.startswith("127.") or address == "::1"]
    says = f"{name} means {', '.join(found)}"
    if inner:
        remedy = f"`{_outer()} {name}` in /etc/hosts, in place of {inner[0]}, for runs on several machines"
        return [
            DoctorRow("names", "host name", "warning", f"{says}: only this machine itself is reached by it", remedy)
        ]
    if not any(is_own(address) for address in found):
        remedy = "correct its entry in /etc/hosts, or in the name server"
        return [DoctorRow("names", "host name", "bad", f"{says}, which is no address of this machine", remedy)]
    return [DoctorRow("names", "host name", "good", says)]


def network_rows(port: int) -> list[DoctorRow]:
    """Interfaces, what is taken of them, InfiniBand, and the port where the nodes of a run meet."""
    found = interfaces()
    return [
        _interfaces(found),
        _gloo(found),
        _nccl(found),
        *_fast(),
        _meeting_port(port),
        _firewall(port),
    ]


def endpoint_row(endpoint: Endpoint) -> DoctorRow:
    """Whether the place where nodes meet can be reached from here."""
    answer = knock(endpoint)
    name = "meeting place"
    if answer.answer == "open":
        return DoctorRow(_SECTION, name, "good", f"{endpoint} answers, after {answer.seconds * 1000:.1f} ms")
    if answer.answer == "closed" and is_own(endpoint.host):
        return DoctorRow(_SECTION, name, "good", f"{endpoint} is this machine, and free")
    says = f"{endpoint} is {answer.answer}: {answer.detail}"
    verdict = "warning" if answer.answer == "closed" else "bad"
    return DoctorRow(_SECTION, name, verdict, says, reach_advice(answer.answer))  # type: ignore[arg-type]


def _interfaces(found: Sequence[NetworkInterface]) -> DoctorRow:
    out = [one for one in found if one.leads_out]
    inner = [one.name for one in found if one.up and one.inner]
    says = ", ".join(map(_described, out)) or "none that leads to other machines"
    if inner:
        says += f"; for containers and tunnels: {', '.join(inner)}"
    if not out:
        return DoctorRow(_SECTION, "interfaces", "warning", says, "one machine alone can train; several need a network")
    small = [one.name for one in out if one.mtu is not None and one.mtu < _SMALLEST]
    if small:
        remedy = f"ip link set {small[0]} mtu 1500, on all machines the same"
        return DoctorRow(_SECTION, "interfaces", "warning", f"{says}: packets of {small[0]} are small", remedy)
    return DoctorRow(_SECTION, "interfaces", "good", says)


def _described(one: NetworkInterface) -> str:
    speed = "" if one.speed is None else f", {one.speed / 1000:g} Gbit/s"
    return f"{one.name} {one.address} (MTU {one.mtu}{speed})"


def _gloo(found: Sequence[NetworkInterface]) -> DoctorRow:
    return _taken("gloo", "GLOO_SOCKET_IFNAME", gloo_pick(os.environ, found), found)


def _nccl(found: Sequence[NetworkInterface]) -> DoctorRow:
    if devices_here().gpus == 0 and "NCCL_SOCKET_IFNAME" not in os.environ:
        return DoctorRow(
            _SECTION, "NCCL takes", "good", f"{nccl_pick(os.environ, found).name or 'none'}; not used without GPUs"
        )
    return _taken("NCCL", "NCCL_SOCKET_IFNAME", nccl_pick(os.environ, found), found)


def _taken(library: str, variable: str, pick: PickedInterface, found: Sequence[NetworkInterface]) -> DoctorRow:
    """What a library takes; no other machine is reached by the loopback, nor by what leads to containers."""
    name = f"{library} takes"
    better = next((one for one in found if one.leads_out), None)
    if not pick.name:
        remedy = f"export {variable}={better.name}" if better else f"unset {variable}"
        return DoctorRow(_SECTION, name, "bad", f"none: {pick.why}", remedy)
    says = f"{pick.name} {pick.address}: {pick.why}"
    taken = next((one for one in found if one.name == pick.name), None)
    wrong = pick.address.startswith("127.") or pick.address == "::1" or (taken is not None and not taken.leads_out)
    if not wrong or better is None:
        return DoctorRow(_SECTION, name, "good", says)
    return DoctorRow(_SECTION, name, "warning", says, f"export {variable}={better.name} {_ITSELF}")


def _fast() -> list[DoctorRow]:
    """The ports of InfiniBand and what is like it."""
    name = "InfiniBand"
    devices = sorted(os.listdir(_INFINIBAND)) if os.path.isdir(_INFINIBAND) else []
    if not devices:
        return [DoctorRow(_SECTION, name, "good", "none here")]
    states = {f"{device}/{port}": _state(device, port) for device in devices for port in _device_ports(device)}
    down = [port for port, state in states.items() if "ACTIVE" not in state]
    says = ", ".join(f"{port} {state}" for port, state in states.items())
    if down:
        return [
            DoctorRow(_SECTION, name, "warning", says, f"NCCL_IB_HCA=^{down[0].split('/')[0]} leaves out what is down")
        ]
    if os.environ.get("NCCL_IB_DISABLE") == "1":
        return [DoctorRow(_SECTION, name, "warning", f"{says}, and NCCL_IB_DISABLE=1", "unset NCCL_IB_DISABLE")]
    return [DoctorRow(_SECTION, name, "good", says)]


def _device_ports(device: str) -> list[str]:
    folder = os.path.join(_INFINIBAND, device, "ports")
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _state(device: str, port: str) -> str:
    try:
        with open(os.path.join(_INFINIBAND, device, "ports", port, "state"), encoding="ascii") as file:
            return file.read(_LONGEST).partition(":")[2].strip()
    except OSError:
        return "unknown"


def _meeting_port(port: int) -> DoctorRow:
    if is_free(port):
        return DoctorRow(_SECTION, "meeting port", "good", f"port {port} is free")
    holder = port_holder(port)
    says = f"port {port} is taken{f' by {holder}' if holder else ''}"
    remedy = "end that, or name another port on all nodes: --rdzv-endpoint HOST:PORT"
    return DoctorRow(_SECTION, "meeting port", "warning", says, remedy)


def _firewall(port: int) -> DoctorRow:
    """Which ports have to be open; whether they are, only another machine sees."""
    try:
        with open(_PORTS, encoding="ascii") as file:
            least, most = file.read(_LONGEST).split()
    except (OSError, ValueError):
        least, most = "1024", "65535"
    says = f"nodes need port {port} and {least}-{most} of each other, which is tried between hosts"
    return DoctorRow(_SECTION, "firewall", "good", says)


def _outer() -> str:
    """An address of this machine that others may reach."""
    return next((one.address for one in interfaces() if one.leads_out), "ADDRESS")
