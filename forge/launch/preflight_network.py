"""The network interfaces of this machine, and which of them gloo and NCCL take unless they are told.

Both choose by themselves and say nothing: gloo goes by what the host's own name means, NCCL by the names of interfaces. Where that is
not the way to the other nodes, ranks wait for each other until their time is over.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NetworkInterface", "PickedInterface", "gloo_pick", "host_addresses", "interfaces", "nccl_pick", "way_lines"]

_FLAGS: Final = 0x8913  # SIOCGIFFLAGS
_ADDRESS: Final = 0x8915  # SIOCGIFADDR
_MTU: Final = 0x8921  # SIOCGIFMTU
_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_REQUEST: Final = 40  # bytes of a struct ifreq
_BEGINS: Final = 16  # where its answer begins
_SYSTEM: Final = "/sys/class/net"
_ADDRESSES_6: Final = "/proc/net/if_inet6"
_LOCAL_6: Final = "fe80:"
# Bridges and tunnels of containers, virtual machines and VPNs: other nodes have their own, often with the same address.
_INNER: Final = (
    "docker",
    "br-",
    "virbr",
    "veth",
    "cni",
    "flannel",
    "podman",
    "lxc",
    "lxd",
    "cali",
    "tailscale",
    "wg",
    "tun",
    "tap",
)
_NCCL_LAST: Final = ("docker", "lo", "virbr")
_FAST: Final = "ib"


class NetworkInterface(NamedTuple):
    """An interface: its first address, "" without one, and its speed in Mbit/s where its driver knows one."""

    name: str
    address: str
    up: bool
    loopback: bool
    mtu: int | None = None
    speed: int | None = None

    @property
    def inner(self) -> bool:
        """Whether it leads to containers, virtual machines or a tunnel, and not to other machines by itself."""
        return self.name.startswith(_INNER)

    @property
    def leads_out(self) -> bool:
        """Whether other machines may be reached by it."""
        return self.up and bool(self.address) and not self.loopback and not self.inner


class PickedInterface(NamedTuple):
    """The interface that a library takes: its name and address, "" for none, and why it does."""

    name: str
    address: str
    why: str


def interfaces() -> list[NetworkInterface]:
    """The interfaces of this machine, in the order of the system."""
    later = _addresses_6()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return [_interface(asked, name, later) for _, name in socket.if_nameindex()]


def host_addresses(name: str | None = None) -> list[str]:
    """The addresses that a host's name means here, this host's own by default; none where nobody knows it."""
    try:
        found = socket.getaddrinfo(name or socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def gloo_pick(
    environment: Mapping[str, str], found: Sequence[NetworkInterface], addresses: Sequence[str] | None = None
) -> PickedInterface:
    """What gloo takes: the interface that it is told, else that of the address which the host's name means."""
    if named := environment.get("GLOO_SOCKET_IFNAME"):
        return _named(named.split(",")[0], found, "GLOO_SOCKET_IFNAME says so")
    host = socket.gethostname()
    for address in host_addresses() if addresses is None else addresses:
        if address.startswith("127.") or address == "::1":
            return PickedInterface(_loopback(found), address, f"the host name {host} means {address} here")
        owner = next((one.name for one in found if one.address == address), None)
        if owner is not None:
            return PickedInterface(owner, address, f"the host name {host} means its address")
    return PickedInterface(_loopback(found), "127.0.0.1", f"the host name {host} means no address of this machine")


def nccl_pick(environment: Mapping[str, str], found: Sequence[NetworkInterface]) -> PickedInterface:
    """What NCCL takes first: what it is told, else InfiniBand, else whatever is neither docker's nor the loopback."""
    usable = [one for one in found if one.up and one.address]
    if named := environment.get("NCCL_SOCKET_IFNAME"):
        chosen = [one for one in usable if _matches(named, one.name)]
        why = "NCCL_SOCKET_IFNAME says so"
        return _picked(chosen[0], why) if chosen else PickedInterface("", "", f"NCCL_SOCKET_IFNAME={named} names none")
    fast = [one for one in usable if one.name.startswith(_FAST)]
    plain = [one for one in usable if not one.name.startswith(_NCCL_LAST)]
    rest = [one for one in usable if one not in plain]
    ways = ((fast, "it is InfiniBand"), (plain, "it is the first"), (rest, "there is no other"))
    return next((_picked(some[0], why) for some, why in ways if some), PickedInterface("", "", "there is none"))


def way_lines(
    address: str, environment: Mapping[str, str], found: Sequence[NetworkInterface], *, gpus: bool
) -> dict[str, str]:
    """The variables that make gloo and, with ``gpus``, NCCL take the interface with this address; none where they do it anyway."""
    way = next((one for one in found if one.address == address and not one.loopback), None)
    if way is None:
        return {}
    lines = {}
    if "GLOO_SOCKET_IFNAME" not in environment and gloo_pick(environment, found).name != way.name:
        lines["GLOO_SOCKET_IFNAME"] = way.name
    first = nccl_pick(environment, found)
    if gpus and "NCCL_SOCKET_IFNAME" not in environment and first.name != way.name and not first.name.startswith(_FAST):
        lines["NCCL_SOCKET_IFNAME"] = way.name
    return lines


def _interface(asked: socket.socket, name: str, later: Mapping[str, str]) -> NetworkInterface:
    flags = _ask(asked, _FLAGS, name)
    state = struct.unpack("=H", flags[:2])[0] if flags else 0
    address = _ask(asked, _ADDRESS, name)
    mtu = _ask(asked, _MTU, name)
    return NetworkInterface(
        name,
        socket.inet_ntoa(address[4:8]) if address else later.get(name, ""),
        bool(state & _UP),
        bool(state & _LOOPBACK),
        struct.unpack("=i", mtu[:4])[0] if mtu else None,
        _speed(name),
    )


def _ask(asked: socket.socket, what: int, name: str) -> bytes:
    """What the system answers on an interface; nothing where it has none."""
    try:
        import fcntl  # where there is none, there are no interfaces to ask for
    except ImportError:
        return b""
    try:
        return fcntl.ioctl(asked, what, name.encode().ljust(_REQUEST, b"\0"))[_BEGINS:]
    except OSError:
        return b""


def _speed(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError), open(os.path.join(_SYSTEM, name, "speed"), encoding="ascii") as file:
        speed = int(file.read())
        return speed if speed > 0 else None
    return None


def _addresses_6() -> dict[str, str]:
    """The first address of IPv6 of each interface that means it beyond its own wire."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError), open(_ADDRESSES_6, encoding="ascii") as file:
        for line in file:
            digits, *_, name = line.split()
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
            if not address.startswith(_LOCAL_6):
                found.setdefault(name, address)
    return found


def _loopback(found: Sequence[NetworkInterface]) -> str:
    return next((one.name for one in found if one.loopback), "lo")


def _named(name: str, found: Sequence[NetworkInterface], why: str) -> PickedInterface:
    chosen = next((one for one in found if one.name == name), None)
    return PickedInterface("", "", f"{why}, and there is no {name}") if chosen is None else _picked(chosen, why)


def _picked(one: NetworkInterface, why: str) -> PickedInterface:
    return PickedInterface(one.name, one.address, why)


def _matches(pattern: str, name: str) -> bool:
    """Whether NCCL's pattern means an interface: prefixes, behind ``=`` whole names, behind ``^`` all others."""
    without = pattern.startswith("^")
    rest = pattern.removeprefix("^")
    exact = rest.startswith("=")
    names = rest.removeprefix("=").split(",")
    return any(name == one if exact else name.startswith(one) for one in names) is not without
