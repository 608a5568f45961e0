"""A run on this machine, alone or as one of several nodes: on which devices, in how many processes, and what starts them."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import UsageError
from forge.launch.address import endpoint_of, is_free, is_own, way_to
from forge.launch.preflight_devices import usable_processors
from forge.launch.process import SAFE, module_command
from forge.launch.surroundings import MASTER_PORT, Surroundings, surroundings
from forge.launch.topology import Topology
from forge.launch.torchrun import TRAINS, Meeting, joined_conf, split_conf, torchrun_command, torchrun_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AskedHere", "LocalLaunch", "LocalPlan", "local_launch", "plan_local"]

_RENDEZVOUS_PORT: Final = 29400  # torchrun's own, where its rendezvous is named without a port
# What says how processes meet; torchrun would ignore it beside --standalone, and say nothing.
_MEETING: Final = frozenset({"rdzv-backend", "rdzv-endpoint", "rdzv-id", "master-addr", "master-port", "node-rank"})
_ORDER: Final = ("standalone", "nnodes", "nproc-per-node", "node-rank", "master-addr", "master-port")


class AskedHere(NamedTuple):
    """What a line says of this machine: the devices, the number of processes, and flags of torchrun; with it the same can be planned again."""

    devices: str | None = None
    nproc: int | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalLaunch:
    """A command with the variables that it needs in its environment, and what was asked for to come to it."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    asked: AskedHere = field(default_factory=AskedHere)

    def __str__(self) -> str:
        """As it can be pasted into a shell."""
        safe = SAFE if self.command[1:2] == ("-m",) else {}  # for an interpreter only
        variables = [f"{name}={shlex.quote(value)}" for name, value in {**safe, **self.environment}.items()]
        return " ".join([*variables, shlex.join(self.command)])


class LocalPlan(NamedTuple):
    """What this machine does for a run: torchrun's flags, None for one process without it, and whom it meets."""

    flags: Mapping[str, str] | None
    environment: Mapping[str, str]
    meeting: Meeting | None = None
    asked: AskedHere = AskedHere()

    @property
    def joins(self) -> bool:
        """Whether the run's folder is made by another node."""
        return self.meeting is not None and not self.meeting.hosts

    def launch(self, run_folder: str) -> LocalLaunch:
        """The command, for this run folder."""
        if self.flags is None:
            return LocalLaunch(tuple(module_command(TRAINS, [run_folder])), self.environment, self.asked)
        return LocalLaunch(torchrun_command(self.flags, run_folder, self.meeting), self.environment, self.asked)


def local_launch(run_folder: str, devices: str | None = None) -> LocalLaunch:
    """How to start a run alone on this machine: on ``cpu``, on the GPUs with these numbers, or, with None, on what is there."""
    return plan_local(devices).launch(run_folder)


def plan_local(
    devices: str | None = None,
    nproc: int | None = None,
    words: Sequence[str] = (),
    topology: Topology | None = None,
    around: Mapping[str, str] | None = None,
) -> LocalPlan:
    """What to start: ``nproc`` processes, or one for each device that is named, or as many as the topology says.

    ``words`` are flags of torchrun; each takes the place of its own default alone. ``around`` are the variables in which a
    cluster says which of several nodes this is.
    """
    topology, asked = topology or Topology(), AskedHere(devices, nproc, tuple(words))
    given = torchrun_words(words)
    numbers = _gpus(devices)
    count = _processes(numbers, nproc, topology)
    environment = {**topology.env, **_visible(devices)}
    found = surroundings(around or {}, given)
    _agree(topology, found, given)
    said = {**(found.values() if found.several else {}), **given}
    several = topology.nodes > 1 or said.get("nnodes", "1") not in {"1", "1:1"} or not _MEETING.isdisjoint(said)
    if count == 1 and not given and not several and not topology.max_restarts:
        return LocalPlan(None, environment, asked=asked)
    flags = {"standalone": "", **_defaults(count, topology), **said}
    meeting = None
    if several:
        flags, meeting = _among_several(flags, topology, given)
    if nproc is not None and "nproc-per-node" not in given:
        flags["nproc-per-node"] = str(nproc)
    _check_devices(numbers, flags["nproc-per-node"])
    environment |= _threads(devices, flags["nproc-per-node"], environment)
    ordered = sorted(flags.items(), key=lambda flag: _ORDER.index(flag[0]) if flag[0] in _ORDER else len(_ORDER))
    return LocalPlan(dict(ordered), environment, meeting, asked)


def _gpus(devices: str | None) -> list[str]:
    if devices is None or devices == "cpu":
        return []
    numbers = devices.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(f"{devices!r} names no device", hint="write -d cpu, or the numbers of GPUs: -d 0,1")
    if len(set(map(int, numbers))) < len(numbers):
        raise UsageError(f"-d {devices} names a GPU twice")
    return numbers


def _processes(numbers: Sequence[str], nproc: int | None, topology: Topology) -> int:
    if nproc is not None and nproc < 1:
        raise UsageError(f"--nproc is at least 1, not {nproc}")
    return nproc or len(numbers) or topology.nproc_per_node


def _visible(devices: str | None) -> dict[str, str]:
    if devices is None:
        return {}
    return {"CUDA_VISIBLE_DEVICES": "" if devices == "cpu" else devices}


def _agree(topology: Topology, found: Surroundings, given: Mapping[str, str]) -> None:
    """What the config says of the number of nodes must not be another number than that of the environment."""
    nodes = found.facts.get("nnodes")
    if nodes is None or "nnodes" in given or topology.nodes == 1 or nodes.value == str(topology.nodes):
        return
    raise UsageError(
        f"launch.nodes={topology.nodes} and {nodes.source}={nodes.value} disagree on the number of nodes",
        hint=f"set launch.nodes={nodes.value}, or unset {nodes.source}",
    )


def _defaults(count: int, topology: Topology) -> dict[str, str]:
    """What torchrun is told unless it is told otherwise."""
    restarts = {"max-restarts": str(topology.max_restarts)} if topology.max_restarts else {}
    return {"nproc-per-node": str(count), **restarts}


def _among_several(
    flags: dict[str, str], topology: Topology, given: Mapping[str, str]
) -> tuple[dict[str, str], Meeting | None]:
    """The flags of one of several nodes, completed with where they meet and which of them hosts that."""
    if "standalone" in given:
        raise UsageError("--standalone is for one node: it would have no effect beside what else is said")
    flags = {name: value for name, value in flags.items() if name != "standalone"}
    flags.setdefault("nnodes", _nodes(topology))
    least, _, most = flags["nnodes"].partition(":")
    if not all(part.isdecimal() and int(part) for part in (least, most or least)):
        raise UsageError(f"--nnodes is a number of nodes, or least:most, not {flags['nnodes']!r}")
    if int(most or least) < int(least):
        raise UsageError(f"--nnodes {flags['nnodes']} has more nodes at least than at most", hint="write LEAST:MOST")
    _check_number(flags, int(most or least))
    where = flags.get("rdzv-endpoint") or topology.rdzv_endpoint or flags.get("master-addr")
    if not where:
        raise UsageError(
            f"{flags['nnodes']} nodes need a place to meet",
            hint="name one of them on each: -- --rdzv-endpoint HOST:PORT, or set MASTER_ADDR and NODE_RANK",
        )
    backend = flags.get("rdzv-backend") or ("c10d" if _dynamic(flags, topology) else "static")
    alone = most in {"", least} and least == "1"
    fill = _static if backend == "static" else _rendezvous
    flags, meeting = fill({**flags, "rdzv-backend": backend}, where, topology)
    # Nodes that come and go have no roll call, and other backends have a host of their own.
    fixed = backend in {"c10d", "static"} and most in {"", least} and not alone
    return flags, meeting._replace(nodes=int(least)) if fixed else None


def _check_number(flags: Mapping[str, str], nodes: int) -> None:
    number = _own_number(flags)
    if number is not None and number >= nodes:
        raise UsageError(
            f"there is no node {number} among {nodes}: they are counted from 0",
            hint=f"set NODE_RANK, or -- --node-rank, to a number from 0 to {nodes - 1}",
        )


def _nodes(topology: Topology) -> str:
    return f"{topology.min_nodes}:{topology.max_nodes}" if topology.elastic else str(topology.nodes)


def _dynamic(flags: Mapping[str, str], topology: Topology) -> bool:
    return bool(flags.get("rdzv-endpoint") or topology.rdzv_endpoint or "node-rank" not in flags)


def _static(flags: dict[str, str], where: str, topology: Topology) -> tuple[dict[str, str], Meeting]:
    """Nodes that have numbers: the first is where they meet."""
    if "node-rank" not in flags:
        raise UsageError("nodes that meet in a static way have numbers", hint="set NODE_RANK, or -- --node-rank N")
    port = flags.get("master-port", "")
    endpoint = endpoint_of(where, int(port) if port.isdecimal() else MASTER_PORT)
    named = {"master-addr": endpoint.host, "master-port": str(endpoint.port)}
    kept = {name: value for name, value in flags.items() if name not in {"rdzv-endpoint", *named}}
    id_ = flags.get("rdzv-id") or topology.rdzv_id or topology.job_name
    return {**kept, **named}, Meeting(endpoint, 0, id_, flags["node-rank"] == "0", _own_number(flags))


def _rendezvous(flags: dict[str, str], where: str, topology: Topology) -> tuple[dict[str, str], Meeting]:
    """Nodes that meet at an endpoint: the one whose address that is has to be told, for torchrun does not find it out."""
    port = flags.get("master-port", "")
    endpoint = endpoint_of(where, int(port) if port.isdecimal() else _RENDEZVOUS_PORT)
    id_ = flags.get("rdzv-id") or topology.rdzv_id or topology.job_name
    conf = split_conf(flags.get("rdzv-conf", ""))
    hosts = _is_true(conf["is_host"]) if "is_host" in conf else _hosts(endpoint.host, endpoint.port, flags)
    conf.setdefault("is_host", "true" if hosts else "false")
    dropped = {"node-rank", "master-addr", "master-port"}
    kept = {name: value for name, value in flags.items() if name not in dropped}
    kept |= {"rdzv-endpoint": str(endpoint), "rdzv-id": id_, "rdzv-conf": joined_conf(conf)}
    own = way_to(endpoint.host)
    if own is not None and flags["rdzv-backend"] == "c10d":
        kept.setdefault("local-addr", own)
    return kept, Meeting(endpoint, 0, id_, hosts, _own_number(flags))


def _hosts(host: str, port: int, flags: Mapping[str, str]) -> bool:
    if "node-rank" in flags:
        return flags["node-rank"] == "0"
    return is_own(host) and is_free(port)


def _own_number(flags: Mapping[str, str]) -> int | None:
    """This node's number, where it is said."""
    number = flags.get("node-rank", "")
    return int(number) if number.isdecimal() else None


def _is_true(text: str) -> bool:
    return text.lower() in {"1", "true", "t", "yes", "y"}


def _check_devices(numbers: Sequence[str], nproc: str) -> None:
    if numbers and nproc.isdecimal() and int(nproc) > len(numbers):
        raise UsageError(
            f"{nproc} processes do not fit on {len(numbers)} GPU{'s' * (len(numbers) > 1)}, each takes one",
            hint=f"name more with -d, or start fewer: --nproc {len(numbers)}",
        )


def _threads(devices: str | None, nproc: str, environment: Mapping[str, str]) -> dict[str, str]:
    """How many threads each process computes with: those that train on the CPU share it, others hardly need any."""
    if "OMP_NUM_THREADS" in os.environ or "OMP_NUM_THREADS" in environment:
        return {}
    share = usable_processors() // int(nproc) if devices == "cpu" and nproc.isdecimal() and int(nproc) else 1
    return {"OMP_NUM_THREADS": str(max(1, share))}
