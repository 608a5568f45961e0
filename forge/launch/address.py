"""Addresses: which machine a name means, and whether that is this one."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple

from forge.base.errors import UsageError

__all__ = ["Endpoint", "endpoint_of", "is_free", "is_own", "way_to"]

_HIGHEST = 65535


class Endpoint(NamedTuple):
    """Where the nodes of a run meet."""

    host: str
    port: int

    def __str__(self) -> str:
        """As torchrun reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint_of(text: str, port: int) -> Endpoint:
    """``host``, ``host:port``, ``[address]:port``; UsageError for what is none."""
    host, bracket, rest = text.removeprefix("[").partition("]")
    if bracket:
        found = rest.removeprefix(":")
    else:
        host, _, found = text.partition(":") if text.count(":") == 1 else (text, "", "")
    if not host or any(mark.isspace() for mark in host) or (found and not found.isdecimal()):
        raise UsageError(f"nodes meet at a host or host:port, not at {text!r}")
    number = int(found or port)
    if not 0 < number <= _HIGHEST:
        raise UsageError(f"{number} is no port: they go from 1 to {_HIGHEST}")
    return Endpoint(host, number)


def is_own(host: str) -> bool:
    """Whether a host's name or address means this machine: only its own addresses can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return any(_binds(family, address) for family, _, _, _, address in found)


def is_free(port: int) -> bool:
    """Whether nothing on this machine listens on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _binds(family: int, address: object) -> bool:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind(address)  # type: ignore[arg-type]
        return True
    return False


def way_to(host: str) -> str | None:
    """The own address by which this machine reaches a host; None when only the machine itself would understand it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # nothing is sent
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    return None if own.startswith("127.") and host not in {own, "localhost"} else own
