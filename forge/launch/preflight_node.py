"""What each of several nodes looks at by itself: its number, its devices, and the interface by which it reaches the others."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

from forge.base.files import read_bounded
from forge.launch.preflight_devices import devices_here, misfits
from forge.launch.preflight_network import interfaces, way_lines
from forge.launch.told import torchrun_told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["all_hosts", "forge_source", "node_names", "node_number", "node_problems", "node_ways"]

_NUMBERS: Final = ("SLURM_NODEID", "PET_NODE_RANK", "NODE_RANK")
_LARGEST: Final = 16 << 20
_GROUP: Final = re.compile(r"([^\[,]+)(?:\[([^\]]*)\])?([^\[,]*)")


def node_number(environment: Mapping[str, str]) -> int | None:
    """Which of the nodes this is, as who has started it says; None where nobody does."""
    found = next((environment[name] for name in _NUMBERS if environment.get(name)), "")
    return int(found) if found.isdecimal() else None


def node_names(given: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names of all nodes in their order: those that are given, or those of Slurm's list."""
    return tuple(given.split(",")) if given else tuple(all_hosts(environment.get("SLURM_JOB_NODELIST", "")))


def all_hosts(nodes: str) -> list[str]:
    """The nodes of a list as Slurm writes it: ``gpu[03-04,9],x`` is gpu03, gpu04, gpu9 and x."""
    return [
        f"{head}{number}{tail}"
        for head, numbers, tail in _GROUP.findall(nodes)
        for number in (_numbers(numbers) if numbers else [""])
    ]


def node_problems(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """What stands in the way of what this node is told to start, each in one sentence."""
    told = torchrun_told("nproc-per-node", command, environment)
    if not told.isdecimal():
        return []
    says, hint = misfits(int(told), environment, devices_here())
    return [f"{says}: {hint}"] if says else []


def node_ways(address: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables by which gloo and NCCL take the interface that reaches the others, where they would take another."""
    return way_lines(address, environment, interfaces(), gpus=devices_here().gpus != 0)


def forge_source() -> str:
    """A short hash of forge's own code: one version number may stand for two states of a checkout."""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(top):
        # What travels inside a wheel besides is no code of forge's.
        folders[:] = sorted(name for name in folders if name not in {"__pycache__", "library"})
        for name in sorted(file for file in files if file.endswith(".py")):
            path = os.path.join(folder, name)
            digest.update(os.path.relpath(path, top).encode() + b"\0" + read_bounded(path, _LARGEST) + b"\0")
    return digest.hexdigest()[:8]


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            yield from (str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1))
        else:
            yield part
