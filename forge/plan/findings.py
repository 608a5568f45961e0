"""What is wrong with the layout of a config and the numbers of its trainer, as findings of ``forge check``: each at its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.base.paths import dotted
from forge.graph.call_check import Finding
from forge.graph.node import Call, Const, Expr
from forge.graph.walk import edges, find
from forge.plan.limits import broken_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.graph.node import Graph, Node
    from forge.plan.read import RunReading
    from forge.plan.refusal import Refusal

__all__ = ["layout_findings", "limit_findings", "refusal_finding"]

_OWN: Final = "forge.ml.train."
_LENGTH: Final = ("dataset", "max_length")
_POSITIONS: Final = ("model", "config", "max_position_embeddings")
_FP8: Final = ("model", "fp8")
_FUSED: Final = ("fuse_optim_with_backward",)


def layout_findings(graph: Graph, main: str | None) -> list[Finding]:
    """A finding for each thing that stands in the way of the layout that a config asks for; nothing is built."""
    if main is None or (_is_one_process(graph.root, main) and not _asks_for_more(graph.root, main)):
        return []  # most configs: the rest is not even imported for them
    from forge.plan.read import origin_of, read_run

    reading = read_run(graph.root, main)
    if reading is None:
        return []
    if reading.refused:
        return [Finding(origin_of(reading.parallel, ""), reading.prefix, reading.refused, reading.ways, code="layout")]
    return [refusal_finding(reading, refusal) for refusal in reading.refusals()]


def limit_findings(graph: Graph, main: str | None) -> Iterator[Finding]:
    """A finding for each number of forge's own trainer that no run can have."""
    trainer = find(graph.root, (main,)) if main is not None else None
    if not isinstance(trainer, Call) or not trainer.target.startswith(_OWN):
        return
    given = {str(edge.key): edge for edge in trainer.kwargs}
    values = {name: edge.node.value for name, edge in given.items() if isinstance(edge.node, (Const, Expr))}
    for name, what in broken_limits(values):
        origin = given[name].origin or given[name].node.origin
        yield Finding(origin, dotted((*trainer.path, name)), what, code="limit")


def refusal_finding(reading: RunReading, refusal: Refusal, code: str = "layout") -> Finding:
    """What stands in the way of a run as a finding at the value that it hangs on."""
    key, origin = reading.place(refusal)
    return Finding(origin, key, refusal.reason, refusal.ways, code=code)


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
    hosts = None if launch is None else find(launch, ("hosts",))  # each may have several
    alone = all(node is None or (isinstance(node, Const) and node.value == 1) for node in launched)
    return plain and alone and (hosts is None or not edges(hosts))


def _asks_for_more(root: Node, main: str) -> bool:
    """Whether one process, too, may not have what is chosen: rows longer than the positions, products of 8 bits, fused updates."""
    found = [find(root, (main, *path)) for path in (_LENGTH, _POSITIONS, _FP8, _FUSED)]
    length, positions, fp8, fused = (node.value if isinstance(node, Const) else None for node in found)
    longer = isinstance(length, int) and isinstance(positions, int) and length > positions
    return longer or fp8 not in (None, "none") or fused is True
