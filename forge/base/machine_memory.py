"""The memory of this machine, and how much of it a process may use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MachineMemory", "free_memory", "machine_memory", "memory_limit", "system_text"]

_MEMORY: Final = "/proc/meminfo"
_GROUPS: Final = "/sys/fs/cgroup"
_OWN_GROUP: Final = "/proc/self/cgroup"
_LONGEST: Final = 1 << 16
_UNLIMITED: Final = 1 << 60


class MachineMemory(NamedTuple):
    """The bytes there are, and those that are free or would be (files that were read lately give way); None for what is not told."""

    total: int | None
    free: int | None


def machine_memory(path: str = _MEMORY) -> MachineMemory:
    """What this system tells of its memory."""
    told = dict(_sizes(system_text(path)))
    return MachineMemory(told.get("MemTotal"), told.get("MemAvailable"))


def memory_limit(groups: str = _GROUPS, own: str = _OWN_GROUP) -> int | None:
    """The bytes that this process's control group may use; None where there is no limit."""
    limits = []
    for path in _limit_files(groups, system_text(own)):
        text = system_text(path).strip()
        if text.isdecimal() and int(text) < _UNLIMITED:
            limits.append(int(text))
    return min(limits, default=None)


def free_memory() -> int:
    """The bytes that a process may still take: what is free on this machine, and no more than its control group may use."""
    free, limit = machine_memory().free, memory_limit()
    if free is None:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return free if limit is None else min(free, limit)


def system_text(path: str) -> str:
    """What a small file of the system's own says; "" where it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError:
        return ""


def _sizes(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            yield name, int(words[0]) * 1024


def _limit_files(groups: str, own: str) -> Iterator[str]:
    """Where the limits of a process's groups stand, in either version of control groups; those of the groups above hold as well."""
    for line in own.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, name = (os.path.join(groups, "memory"), "memory.limit_in_bytes") if kinds else (groups, "memory.max")
        folder = os.path.normpath(path)
        while True:
            yield os.path.join(root, folder.strip("/"), name)
            if folder in {"/", "", "."}:
                break
            folder = os.path.dirname(folder)
