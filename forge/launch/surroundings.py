"""What the environment says about the nodes of a run: set by hand, by Slurm, by SkyPilot, or by an operator of Kubernetes.

Each of them has names of its own for the same few facts. Where two of them disagree, that is said, and nothing is guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import UsageError
from forge.launch.torchrun import check_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["MASTER_PORT", "Stated", "Surroundings", "first_host", "surroundings"]

MASTER_PORT: Final = 29500
"""Where the nodes meet unless something else is said."""
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "nnodes": ("PET_NNODES", "NNODES", "SKYPILOT_NUM_NODES"),
    "node-rank": ("PET_NODE_RANK", "NODE_RANK", "SKYPILOT_NODE_RANK"),
    "nproc-per-node": ("PET_NPROC_PER_NODE", "NPROC_PER_NODE", "SKYPILOT_NUM_GPUS_PER_NODE"),
    "master-addr": ("PET_MASTER_ADDR", "MASTER_ADDR"),
    "master-port": ("PET_MASTER_PORT", "MASTER_PORT"),
    "rdzv-endpoint": ("PET_RDZV_ENDPOINT",),
    "rdzv-backend": ("PET_RDZV_BACKEND",),
    "rdzv-id": ("PET_RDZV_ID",),
    "rdzv-conf": ("PET_RDZV_CONF",),
    "max-restarts": ("PET_MAX_RESTARTS",),
}
_WORDS: Final = {
    "nnodes": "the number of nodes",
    "node-rank": "the number of this node",
    "nproc-per-node": "the processes on each node",
    "master-addr": "the first node",
    "master-port": "the port of the first node",
}
_NO_GPUS: Final = ("SKYPILOT_NUM_GPUS_PER_NODE", "0")  # from which no number of processes follows
_PORTS: Final = (20000, 10000)  # the first of those that jobs of Slurm meet at, and how many there are
_FIRST_OF: Final = re.compile(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^\[,]*)")


class Stated(NamedTuple):
    """A value, and the variable that says it."""

    value: str
    source: str


class Surroundings(NamedTuple):
    """The facts by the names of torchrun's flags."""

    facts: Mapping[str, Stated]

    def values(self) -> dict[str, str]:
        """The values alone."""
        return {name: fact.value for name, fact in self.facts.items()}

    @property
    def several(self) -> bool:
        """Whether this is one of several nodes."""
        nodes = self.facts.get("nnodes")
        return nodes is not None and nodes.value not in {"1", "1:1"}


def surroundings(environment: Mapping[str, str], decided: Collection[str] = ()) -> Surroundings:
    """What these variables say; UsageError where two of them disagree, or one cannot be what it has to be.

    What is ``decided`` elsewhere they are not asked for.
    """
    _refuse_rank(environment)
    facts: dict[str, Stated] = {}
    for name, fact in _said(environment):
        if name in decided:
            continue
        _check(name, fact)
        known = facts.setdefault(name, fact)
        if known.value != fact.value:
            raise UsageError(
                f"{known.source}={known.value} and {fact.source}={fact.value} disagree on {_WORDS.get(name, name)}",
                hint=f"unset one of them, or say it yourself: -- --{name} VALUE",
            )
    return Surroundings(facts)


def _refuse_rank(environment: Mapping[str, str]) -> None:
    """UsageError where each of several processes that something has started would start all of them."""
    if local := environment.get("LOCAL_RANK", "").strip():
        raise UsageError(
            f"LOCAL_RANK={local}: this is one process of several that torchrun, or the like, has started",
            hint="start forge once on each machine, without it: forge starts the processes itself",
        )
    tasks = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if tasks and int(tasks.group()) > 1:
        raise UsageError(
            f"srun has started {tasks.group()} tasks on a node, and each of them would start the whole run",
            hint="srun --ntasks-per-node=1 ...: forge starts the processes itself, see launch.nproc_per_node",
        )


def _said(environment: Mapping[str, str]) -> Iterator[tuple[str, Stated]]:
    for name, variables in _NAMES.items():
        for variable in variables:
            value = environment.get(variable, "").strip()
            if value and (variable, value) != _NO_GPUS:
                yield name, Stated(value, variable)
    yield from _skypilot(environment)
    # In the shell of an allocation nothing is distributed yet: a step of several tasks is.
    nodes = environment.get("SLURM_NNODES", "")
    if environment.get("SLURM_PROCID") and nodes.isdecimal() and int(nodes) > 1:
        yield from _slurm(environment)


def _skypilot(environment: Mapping[str, str]) -> Iterator[tuple[str, Stated]]:
    nodes = environment.get("SKYPILOT_NODE_IPS", "").split()
    if len(nodes) > 1:
        yield "master-addr", Stated(nodes[0], "SKYPILOT_NODE_IPS")


def _slurm(environment: Mapping[str, str]) -> Iterator[tuple[str, Stated]]:
    yield "nnodes", Stated(environment["SLURM_NNODES"], "SLURM_NNODES")
    if rank := environment.get("SLURM_NODEID"):
        yield "node-rank", Stated(rank, "SLURM_NODEID")
    gpus = environment.get("SLURM_GPUS_ON_NODE", "0")
    if gpus != "0":
        yield "nproc-per-node", Stated(gpus, "SLURM_GPUS_ON_NODE")
    if (nodes := environment.get("SLURM_JOB_NODELIST")) and not environment.get("MASTER_ADDR"):
        yield "master-addr", Stated(first_host(nodes), "SLURM_JOB_NODELIST")
    if (job := environment.get("SLURM_JOB_ID", "")).isdecimal() and not environment.get("MASTER_PORT"):
        yield "master-port", Stated(str(_PORTS[0] + int(job) % _PORTS[1]), "SLURM_JOB_ID")


def first_host(nodes: str) -> str:
    """The first node of a list as Slurm writes it: ``gpu[03-07,9],x`` begins with ``gpu03``."""
    found = _FIRST_OF.match(nodes)
    return "".join(part or "" for part in found.groups()) if found else nodes


def _check(name: str, fact: Stated) -> None:
    check_value(name, fact.value, fact.source)
    if name != "nnodes":
        return
    if not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", fact.value):
        raise UsageError(f"{fact.source} is a number of nodes, or least:most, not {fact.value!r}")
    least, _, most = fact.value.partition(":")
    if int(most or least) < int(least):
        raise UsageError(f"{fact.source}={fact.value} has more nodes at least than at most", hint="write LEAST:MOST")
