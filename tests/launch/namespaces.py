"""Hosts on one machine: network namespaces joined by veth, each with an address, a name and an /etc/hosts of its own; as root.

What happens on one of them is seen by nobody else but through the network and the disk, and a host can lose its link or be killed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Self

PROGRAMS = ("ip", "nsenter", "unshare", "mount", "hostname")
NETWORK = "10.79.0"
PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CLONE_NEWNET = 0x40000000
# What a host does before it does anything: it learns its own name, and those of the others.
ENTER = 'mount --bind "$0" /etc/hosts && hostname "$1" && shift && exec "$@"'


def variables(**changes: str) -> dict[str, str]:
    """The environment of this process, which finds what only root calls."""
    return {**os.environ, "PATH": PLACES, **changes}


def ip(*words: str) -> str:
    """What `ip` prints."""
    command = ["ip", *words]
    return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True, env=variables()).stdout


class Made:
    """What is made on this machine as it is entered, and removed as it is left."""

    def up(self) -> None:
        """Make it."""
        raise NotImplementedError

    def down(self) -> None:
        """Remove it, with whatever runs there."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Make it, all or nothing."""
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.down()


class Network(Made):
    """Hosts that are joined by a switch; ``away`` are on networks of their own, with addresses that the others have no way to.

    A folder stands for one network: who names the same folder again means the same hosts.
    """

    def __init__(self, folder: Path, names: Sequence[str], away: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.mark = "forge" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        self.addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 1)} | dict(away or {})
        self.switch = f"{self.mark}-switch"

    def space(self, name: str) -> str:
        """The namespace of a host."""
        return f"{self.mark}-{name}"

    def port(self, name: str) -> str:
        """Where the switch has its cable."""
        return f"port{list(self.addresses).index(name)}"

    def up(self) -> None:
        """Make the hosts, and join them."""
        hosts = "".join(f"{address} {name}\n" for name, address in self.addresses.items())
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            space, port = self.space(name), self.port(name)
            ip("netns", "add", space)
            ip("link", "add", "ve0", "netns", space, "type", "veth", "peer", "name", port, "netns", self.switch)
            ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "ve0")
            for link in ("lo", "ve0"):
                ip("-n", space, "link", "set", link, "up")
            self.knows(name, f"127.0.0.1 localhost\n{hosts}")

    def down(self) -> None:
        """Remove the hosts, with whatever still runs there."""
        for name in self.addresses:
            self.end(name)
        for space in (self.switch, *map(self.space, self.addresses)):
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", space)

    def knows(self, name: str, hosts: str) -> None:
        """What a host has in /etc/hosts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.hosts").write_text(hosts)

    def command(self, name: str, *words: str) -> list[str]:
        """What runs these words on a host."""
        space, hosts = self.space(name), str(self.folder / f"{name}.hosts")
        enter = ["nsenter", f"--net=/run/netns/{space}", "unshare", "--mount", "--uts"]  # /sys stays as it is
        return [*enter, "sh", "-c", ENTER, hosts, name, *words]

    def start(self, name: str, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start these words on a host, in a session of their own."""
        found = {"env": variables(), **options}
        return subprocess.Popen(self.command(name, *words), start_new_session=True, text=True, **found)

    def said(self, name: str, *words: str, **changes: str) -> str:
        """What these words print on a host."""
        command = self.command(name, *words)
        return subprocess.run(
            command, check=True, timeout=60, stdout=subprocess.PIPE, text=True, env=variables(**changes)
        ).stdout

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Let this process be on the network of a host, with what it starts meanwhile."""
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{self.space(name)}") as theirs:
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())

    def pids(self, name: str) -> list[int]:
        """Who runs on a host."""
        return [int(pid) for pid in ip("netns", "pids", self.space(name)).split()]

    def cut(self, name: str) -> None:
        """Pull the cable of a host."""
        ip("-n", self.switch, "link", "set", self.port(name), "down")

    def join(self, name: str) -> None:
        """Put it in again."""
        ip("-n", self.switch, "link", "set", self.port(name), "up")

    def kill(self, name: str) -> None:
        """Pull the plug of a host: nobody there says goodbye to anybody."""
        self.cut(name)
        self.end(name)

    def end(self, name: str) -> None:
        """End at once what runs on a host."""
        until = time.monotonic() + 20
        with suppress(subprocess.CalledProcessError):  # it was never made
            while (pids := [pid for pid in self.pids(name) if _runs(pid)]) and time.monotonic() < until:
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def _enter(space: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _runs(pid: int) -> bool:
    """Whether a process is more than a name that its parent has not asked for yet."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
