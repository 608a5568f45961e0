"""Whether a port of a machine can be reached, and if not, what stands in the way: nobody listens, a firewall, no route, no such name."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.launch.address import Endpoint

__all__ = ["Knock", "PortAnswer", "answer_of", "knock", "port_holder", "reach_advice"]

PortAnswer = Literal["open", "closed", "filtered", "no route", "unknown name"]

_PATIENCE: Final = 3.0
_NO_WAY: Final = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL)
_LISTENS: Final = "0A"
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_ADVICE: Final[dict[PortAnswer, str]] = {
    "open": "",
    "closed": "that machine is there and nobody listens: start the run there too, or look whether the port is the right one",
    "filtered": "nothing comes back: a firewall drops it; let the nodes of the run reach each other on every port, or a container has "
    "a network of its own (--network host)",
    "no route": "there is no way to it, or a firewall says so: name an address of a network that all nodes have in common",
    "unknown name": "nobody knows that name here: write the address, or enter the name in /etc/hosts",
}


class Knock(NamedTuple):
    """How a port answered, after how many seconds, from which own address, and what the system said of it."""

    answer: PortAnswer
    seconds: float
    own: str = ""
    detail: str = ""


def knock(endpoint: Endpoint, patience: float = _PATIENCE) -> Knock:
    """Open a connection and close it again."""
    began = time.monotonic()
    try:
        with socket.create_connection(endpoint, timeout=patience) as end:
            return Knock("open", time.monotonic() - began, str(end.getsockname()[0]))
    except OSError as error:
        return Knock(answer_of(error), time.monotonic() - began, detail=error.strerror or str(error))


def answer_of(error: OSError) -> PortAnswer:
    """What an error of connecting says of the port."""
    if isinstance(error, socket.gaierror):
        return "unknown name"
    if isinstance(error, ConnectionError):
        return "closed"
    return "no route" if error.errno in _NO_WAY else "filtered"


def reach_advice(answer: PortAnswer) -> str:
    """What to do about it."""
    return _ADVICE[answer]


def port_holder(port: int) -> str | None:
    """The process of this machine that listens on a port, as ``python (process 7)``; None where that cannot be told."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    if not inodes:
        return None
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            folder = f"/proc/{name}/fd"
            if any(os.readlink(f"{folder}/{number}") in inodes for number in os.listdir(folder)):
                return f"{_program(name)} (process {name})"
    return None


def _listening(port: int) -> Iterator[str]:
    """The numbers of the sockets that listen on a port."""
    for table in _TABLES:
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _program(pid: str) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
