"""A graph that shows itself in a notebook."""

from __future__ import annotations

from forge.graph.node import Graph

__all__ = ["DrawnGraph"]


class DrawnGraph(Graph):
    """A graph that a notebook shows as its picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        from forge.render.svg import svg

        return svg(self)
