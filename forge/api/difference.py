"""What turns one config or run into another, and the ways to show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.graph.change import Change
    from forge.graph.node import Graph

__all__ = ["Difference"]


class Difference:
    """What turns one graph into another: the changes, and how to show them. True when there are any."""

    def __init__(self, before: Graph, after: Graph, bridged: Callable[[tuple[Change, ...]], list[str]]) -> None:
        from forge.graph.diff import diff

        self.before = before
        self.after = after
        self.changes: tuple[Change, ...] = diff(before, after)
        self._bridged = bridged

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, color: bool = False, width: int | None = None) -> str:
        """One line a change, or two where one would be wider than ``width``."""
        from forge.render.difference import text

        return text(self.changes, color=color, width=width)

    def overrides(self) -> list[str]:
        """The overrides that lead from one to the other: of two configs, what turns the earlier into the later one."""
        return self._bridged(self.changes)

    def svg(self) -> str:
        """The later graph as a picture with the changes marked in it."""
        from forge.render.difference import overlay

        return overlay(self.before, self.after, self.changes)

    def data(self) -> list[dict[str, Any]]:
        """The changes for programs."""
        from forge.render.forms import change_data

        return [change_data(change) for change in self.changes]

    def _repr_svg_(self) -> str:
        return self.svg()
