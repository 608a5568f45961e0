"""What is wrong with the layout of a config, as findings of ``forge check``: each at the value that it hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.graph.call_check import Finding
from forge.graph.node import Call, Const
from forge.graph.walk import edges, find

if TYPE_CHECKING:
    from forge.graph.node import Graph, Node
    from forge.plan.capability import Refusal
    from forge.plan.read import RunReading

__all__ = ["layout_findings"]


def layout_findings(graph: Graph, main: str | None) -> list[Finding]:
    """A finding for each thing that stands in the way of the layout that a config asks for; nothing is built."""
    if main is None or _is_one_process(graph.root, main):
        return []  # most configs: the rest is not even imported for them
    from forge.plan.capability import refusals
    from forge.plan.read import origin_of, read_run

    reading = read_run(graph.root, main)
    if reading is None:
        return []
    if reading.refused:
        return [Finding(origin_of(reading.parallel, ""), reading.prefix, reading.refused, code="layout")]
    if reading.layout is None:
        return []
    found = refusals(
        reading.shape,
        reading.layout,
        reading.ranks,
        sequence_length=reading.sequence_length,
        batch_size=reading.batch_size,
        compiled=reading.settings.get("torch_compile") is True,
        prefix=reading.prefix,
    )
    return [_finding(reading, refusal) for refusal in found]


def _is_one_process(root: Node, main: str) -> bool:
    """Whether there is no trainer, or its layout divides nothing and one process is launched."""
    trainer = find(root, (main,))
    if not isinstance(trainer, Call):
        return True
    parallel, launch = find(trainer, ("parallel",)), find(root, ("launch",))
    if parallel is None and not trainer.target.startswith("forge."):
        return True  # somebody else's trainer, which knows of no layout
    launched = [] if launch is None else [find(launch, (name,)) for name in ("nodes", "nproc_per_node")]
    values = [] if parallel is None else [edge.node for edge in edges(parallel) if edge.key != "reshard_after_forward"]
    plain = all(isinstance(node, Const) and node.value is not True and node.value in (None, 0, 1) for node in values)
    return plain and all(node is None or (isinstance(node, Const) and node.value == 1) for node in launched)


def _finding(reading: RunReading, refusal: Refusal) -> Finding:
    from forge.plan.read import origin_of

    key = f"{reading.prefix}.{refusal.key}" if refusal.key else reading.prefix
    message = f"{refusal.what}: {refusal.why}" if refusal.why else refusal.what
    hint = f"possible: {' or '.join(refusal.nearest)}" if refusal.nearest else ""
    return Finding(origin_of(reading.parallel, refusal.key), key, message, hint, code="layout")
