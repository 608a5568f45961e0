"""What is looked at on this machine before a run starts there: its layout, its devices, its folders, room for its checkpoints, the port it meets at.

Each finding names the value of the config to change, as those of ``forge check`` do; an error among them, and nothing is started. What
several nodes have to agree on is asked when they come together, in `forge.launch.rollcall`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.graph.call_check import Finding
from forge.launch.address import is_free
from forge.launch.preflight_devices import devices_here, misfits
from forge.launch.preflight_reach import port_holder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.graph.node import Node
    from forge.launch.local import LocalPlan
    from forge.launch.preflight_devices import Devices
    from forge.launch.topology import Topology
    from forge.plan.asked import DeviceKind
    from forge.plan.read import RunReading

__all__ = ["handed_preflight", "preflight", "shared_preflight"]

_CODE: Final = "preflight"
_MASK: Final = "CUDA_VISIBLE_DEVICES"
_MOST_NAMED: Final = 5


def preflight(root: Node, main: str, plan: LocalPlan, output: str, source_folders: Sequence[str] = ()) -> list[Finding]:
    """What stands in the way of a run, or may, on this machine, as it is planned for it."""
    from forge.launch.preflight_folders import trust_findings
    from forge.plan.read import read_run

    here = devices_here()
    environment = {**os.environ, **plan.environment}
    found = [*_devices(plan, environment, here), *_port(plan), *trust_findings(root, main, source_folders)]
    reading = read_run(root, main)
    if reading is not None:
        found += _layout(reading, plan, _kind(environment, here))
    return found if plan.joins else [*found, *shared_preflight(root, main, output, here=True)]


def shared_preflight(root: Node, main: str, output: str, *, here: bool = False) -> list[Finding]:
    """What can be told of a run before it is handed to other machines: whether its folders are there, and the output folder has room.

    Unless it runs ``here``, what is read may be where only the others see it.
    """
    from forge.launch.preflight_disk import disk_findings
    from forge.launch.preflight_folders import input_findings, mixing_findings
    from forge.plan.read import read_run

    reading = read_run(root, main)
    if reading is None:
        return []
    inputs = [one if here else one._replace(severity="warning") for one in input_findings(root, main)]
    return [*inputs, *mixing_findings(root, reading, main, output), *disk_findings(root, reading, main, output)]


def handed_preflight(root: Node, main: str, topology: Topology) -> list[Finding]:
    """What can be told of a run that other machines start, from its topology alone."""
    from forge.plan.read import read_run

    each = topology.nproc_per_node
    found = _gpus_asked_for(topology)
    reading = read_run(root, main)
    if reading is None:
        return found
    if topology.min_nodes is not None and topology.max_nodes is not None:
        return [*found, *_elastic(reading, topology.min_nodes, topology.max_nodes, each)]
    # What the config itself launches is held against its layout by check; --hosts may have said otherwise.
    return found if topology.ranks == reading.ranks else [*found, *_refused(reading, topology.ranks)]


def _gpus_asked_for(topology: Topology) -> list[Finding]:
    """Whether the processes of a node and the GPUs that it is asked for are as many."""
    each, gpus = topology.nproc_per_node, topology.gpus_per_node
    if not gpus or each == gpus:
        return []
    many = f"{each} process{'es' * (each > 1)}"
    asked = f"the {gpus} GPU{'s' * (gpus > 1)} that each node is asked for"
    hint = f"set launch.nproc_per_node={gpus}, or launch.gpus_per_node={each}"
    if each > gpus:
        return [_finding("launch.nproc_per_node", f"{many} do not fit on {asked}, each takes one", hint)]
    says = f"{many} a node leave{'s' * (each == 1)} {gpus - each} of {asked} idle, each takes one"
    return [_finding("launch.nproc_per_node", says, hint, "warning")]


def _elastic(reading: RunReading, least: int, most: int, each: int) -> list[Finding]:
    """Whether the layout fits every number of nodes that the run may have while it goes on."""
    if reading.layout is None or reading.parallel is None:
        return []
    refused = [nodes for nodes in range(least, most + 1) if reading.refusals(ranks=nodes * each)]
    if not refused:
        return []
    some = ", ".join(map(str, refused[:_MOST_NAMED])) + (" ..." if len(refused) > _MOST_NAMED else "")
    why = reading.refusals(ranks=refused[0] * each)[0]
    says = f"the run may have {least} to {most} nodes, and would end with {some} of them: {why.what}: {why.why or why.what}"
    hint = "leave a degree to the number of processes (dp_shard: -1 or dp_replicate: -1), or fix the number of nodes"
    return [_finding(reading.prefix, says, hint)]


def _kind(environment: Mapping[str, str], here: Devices) -> DeviceKind | None:
    """What the processes compute on; None where that cannot be told."""
    if environment.get(_MASK) == "" or here.gpus == 0:
        return "cpu"
    return None if here.gpus is None else "cuda"


def _devices(plan: LocalPlan, environment: Mapping[str, str], here: Devices) -> list[Finding]:
    count = _number(plan, "nproc-per-node")
    if count is None:
        # Of the words that torchrun counts devices by, this one it takes literally.
        if (plan.flags or {}).get("nproc-per-node") == "gpu" and here.gpus == 0:
            says = "one process for each GPU is asked for, and this machine has none"
            return [_finding("launch.nproc_per_node", says, "write --nproc-per-node cpu, or a number")]
        return []
    says, hint = misfits(count, environment, here)
    if says:
        return [_finding("launch.nproc_per_node", says, hint)]
    if _kind(environment, here) == "cpu" and count > here.processors:
        says = f"{count} processes share {here.processors} processor{'s' * (here.processors != 1)}: each waits for the others"
        return [_finding("launch.nproc_per_node", says, f"start {here.processors} or fewer: --nproc", "warning")]
    return []


def _port(plan: LocalPlan) -> list[Finding]:
    """Whether the nodes can meet here; a node that joins is told by the one it joins."""
    meeting = plan.meeting
    if meeting is None or not meeting.hosts or is_free(meeting.endpoint.port):
        return []
    holder = port_holder(meeting.endpoint.port)
    taken = f"by {holder}" if holder else "by another program"
    says = f"port {meeting.endpoint.port}, where the nodes should meet, is taken {taken}"
    return [_finding("launch.rdzv_endpoint", says, "end that, or name another on all nodes: --rdzv-endpoint HOST:PORT")]


def _layout(reading: RunReading, plan: LocalPlan, device: DeviceKind | None) -> list[Finding]:
    """What check could not know: how many processes there really are, and on what."""
    each = _number(plan, "nproc-per-node")
    least, _, most = (plan.flags or {}).get("nnodes", "").partition(":")
    if each is not None and least.isdecimal() and most.isdecimal() and int(most) > int(least):
        return _elastic(reading, int(least), int(most), each)
    nodes = _number(plan, "nnodes")
    if each is None or nodes is None:
        return []
    if nodes == 1:
        return _refused(reading, each, device=device, here=True)
    # Others may start another number of processes than this one.
    return [
        finding._replace(severity="warning", message=f"if each of the {nodes} nodes starts {each}: {finding.message}")
        for finding in _refused(reading, nodes * each)
    ]


def _refused(reading: RunReading, ranks: int, *, device: DeviceKind | None = None, here: bool = False) -> list[Finding]:
    """What stands in the way of the layout on so many processes."""
    if reading.layout is None or reading.parallel is None:
        return []
    from forge.plan.findings import refusal_finding

    return [refusal_finding(reading, one, _CODE) for one in reading.refusals(ranks=ranks, device=device, here=here)]


def _number(plan: LocalPlan, flag: str) -> int | None:
    """A number that torchrun is told; one where it is not started at all, None where it finds out by itself."""
    if plan.flags is None:
        return 1
    text = plan.flags.get(flag, "1")
    return int(text) if text.isdecimal() else None


def _finding(key: str, says: str, hint: str, severity: str = "error") -> Finding:
    return Finding(None, key, says, hint, "warning" if severity == "warning" else "error", _CODE)
