"""Who takes part in a run on several nodes: what each says of itself, who is missing, and who is not like the others."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forge import __version__
from forge.base.errors import ToolError
from forge.base.files import read_bounded
from forge.base.origin import shown_path
from forge.launch.address import Endpoint, is_own
from forge.launch.preflight_node import forge_source
from forge.launch.preflight_reach import knock, reach_advice
from forge.launch.rollcall_line import AbsentNodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ROLL_PATIENCE",
    "Attendee",
    "RollCall",
    "absent_names",
    "absent_node",
    "not_shared",
    "refuse_same_number",
    "this_node",
    "unlike_node",
]

ROLL_PATIENCE: Final = 60.0
"""Seconds in which all nodes have to come."""
_GRAPH: Final = "graph.json"
_LARGEST: Final = 256 << 20
_CLOCKS: Final = 60.0
_SSH: Final = 22
_LOOK: Final = 2.0
_PACKAGES: Final = ("torch", "transformers", "nvidia-nccl-cu12", "nvidia-nccl-cu13")


@dataclass(frozen=True)
class RollCall:
    """A run that nodes come together for: where, how many, its id, and its folder.

    ``number`` is this node's, ``names`` those of all, where they are known, and ``problems`` is why it cannot start its part.
    """

    endpoint: Endpoint
    nodes: int
    id: str
    folder: str
    patience: float = ROLL_PATIENCE
    number: int | None = None
    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attendee:
    """A node: its name, the address it speaks from, what it runs, its number, and why it cannot start its part."""

    name: str
    runs: dict[str, str]
    address: str = ""
    number: int | None = None
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For a person."""
        return f"{self.name} ({self.address})" if self.address else self.name


def this_node(run_folder: str) -> Attendee:
    """This machine, as it takes part in a run."""
    from importlib.metadata import PackageNotFoundError, version  # only for several nodes

    runs = {"forge": f"{__version__} ({forge_source()})"}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            runs[package] = version(package)
    path = os.path.join(run_folder, _GRAPH)
    if os.path.exists(path):
        runs["frozen config"] = hashlib.sha256(read_bounded(path, _LARGEST)).hexdigest()[:12]
    return Attendee(socket.gethostname(), runs)


def refuse_same_number(present: Sequence[Attendee]) -> None:
    """ToolError where two nodes say that they are the same one."""
    for place, node in enumerate(present):
        same = [other for other in present[:place] if node.number is not None and other.number == node.number]
        if same:
            raise ToolError(
                f"{same[0]} and {node} both say that they are node {node.number}",
                hint="give each node a number of its own, from 0: NODE_RANK, or --node-rank",
            )


def unlike_node(own: Attendee, guest: Attendee, ahead: float) -> ToolError | None:
    """What keeps two nodes from taking part in one run; ``ahead`` is by how much the clock of the other one is."""
    for name in dict.fromkeys([*own.runs, *guest.runs]):
        ours, theirs = own.runs.get(name, "none"), guest.runs.get(name, "none")
        if ours != theirs:
            return ToolError(
                f"{name} is {ours} on {own} and {theirs} on {guest}: all nodes have to run the same",
                hint="use one environment, or one container image, on all nodes",
            )
    if abs(ahead) > _CLOCKS:
        return ToolError(
            f"the clocks of {own} and {guest} are {abs(ahead):.0f} seconds apart",
            hint="let all nodes keep their time by chrony or systemd-timesyncd",
        )
    return None


def not_shared(folder: str, guest: Attendee) -> ToolError:
    """That a node does not see what the others see."""
    return ToolError(
        f"{guest} does not see what is in the run folder {shown_path(folder)}",
        hint="the run folder has to be on a filesystem that all nodes share: --output-dir",
    )


def absent_node(call: RollCall, here: Sequence[Attendee]) -> AbsentNodeError:
    """That some did not come, and what to do about it."""
    names = ", ".join(map(str, here))
    return AbsentNodeError(
        f"{absent_names(call, here)} never came within {call.patience:.0f} seconds; here are {names}",
        hint=_look_for(call, here),
    )


def absent_names(call: RollCall, here: Sequence[Attendee]) -> str:
    """Who is not there: by name where the names of all are known, by number where all have one."""
    numbers = _absent_numbers(call, here)
    count = call.nodes - len(here)
    if len(numbers) != count:
        return f"node {call.nodes} of {call.nodes}" if count == 1 else f"{count} nodes of {call.nodes}"
    names = f" ({', '.join(call.names[number] for number in numbers)})" if call.names else ""
    return f"node{'s' * (count > 1)} {', '.join(str(number + 1) for number in numbers)} of {call.nodes}{names}"


def _absent_numbers(call: RollCall, here: Sequence[Attendee]) -> list[int]:
    if len(call.names) not in {0, call.nodes}:
        return []
    there = {node.number for node in here}
    return [] if None in there else [number for number in range(call.nodes) if number not in there]


def _look_for(call: RollCall, here: Sequence[Attendee]) -> str:
    """What to do about those who did not come: where a name is known, whether that machine answers at all."""
    if not is_own(call.endpoint.host):
        return f"{call.endpoint.host} is no address of this machine: does NODE_RANK, or is_host=true, belong on another node?"
    start = (
        f"start the same command there with --rdzv-endpoint {call.endpoint}; a firewall may keep them from that port"
    )
    for number in _absent_numbers(call, here)[:1] if call.names else []:
        name = call.names[number]
        # That nobody listens at the port of ssh is an answer too.
        answer = knock(Endpoint(name, _SSH), _LOOK).answer
        if answer not in {"open", "closed"}:
            return f"{name} does not answer from here either: {reach_advice(answer)}"
        return f"{name} is up: look there for what its part says; {start}"
    return start
