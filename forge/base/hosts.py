"""Hosts as people write them: ``a:4`` is the host a with four processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["count_hosts"]


def count_hosts(hosts: Iterable[str], each: int) -> tuple[tuple[str, int], ...]:
    """The hosts, each with the number of its processes: ``a:4`` has 4, and ``a`` has ``each``."""
    found = []
    for host in hosts:
        name, _, count = host.rpartition(":")
        found.append((name, int(count)) if name and count.isdecimal() else (host, each))
    return tuple(found)
