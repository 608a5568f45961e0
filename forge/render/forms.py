"""All forms of a graph by name, and a difference as data: what the verbs and the Python interface offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.base.paths import dotted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.base.origin import Origin
    from forge.graph.change import Change
    from forge.graph.node import Graph
    from forge.render.svg import Links

__all__ = ["FORMS", "change_data", "draw"]

FORMS: Final = {
    "tree": ".txt",
    "yaml": ".yaml",
    "json": ".json",
    "python": ".py",
    "dot": ".dot",
    "mermaid": ".mmd",
    "svg": ".svg",
    "html": ".html",
}
"""The names of the forms, each with the suffix of a file in that form."""


_WHOLE: Final = frozenset({"python", "yaml", "json"})


def draw(
    graph: Graph,
    form: str,
    *,
    depth: int | None = None,
    focus: str | None = None,
    color: bool = False,
    width: int = 100,
    search: Sequence[str] = (),
    links: Links | None = None,
) -> str:
    """A graph in one of `FORMS`; ``depth`` folds what lies deeper, ``focus`` shows one node with its neighbours.

    ``color`` and ``width`` are for a tree in the terminal, ``search`` for a program that has to find a project's code,
    ``links`` for an SVG whose titles and rows lead to the lines they come from: in the ``file``, or in ``vscode``.
    """
    if form in _WHOLE and (depth is not None or focus is not None):
        raise UsageError(f"the {form} form is always whole", hint="--depth and --focus are for trees and pictures")
    if links is not None and form != "svg":
        raise UsageError(
            f"the {form} form has no links to the config files",
            hint="links are for the svg form: --format svg --links ...",
        )
    # Each renderer is imported where it is asked for: a tree needs none of the pictures.
    if form == "tree":
        from forge.render.tree import tree

        return tree(graph, depth=depth, focus=focus, color=color, width=width)
    if form == "python":
        from forge.render.python import python

        return python(graph, search=search)
    if form == "dot":
        from forge.render.dot import dot

        return dot(graph, depth=depth, focus=focus)
    if form == "mermaid":
        from forge.render.mermaid import mermaid

        return mermaid(graph, depth=depth, focus=focus)
    if form == "svg":
        from forge.render.svg import svg

        return svg(graph, depth=depth, focus=focus, links=links)
    if form == "html":
        from forge.render.page import page

        return page(graph, depth=depth, focus=focus)
    if form == "json":
        from forge.graph.stored import to_json

        return to_json(graph)
    from forge.render.data import to_yaml

    return to_yaml(graph)


def change_data(change: Change) -> dict[str, Any]:
    """A change as plain data: what kind it is, where, and the values before and after, secrets masked."""
    from forge.render.config import config_data  # a graph in one form needs none of it

    found: dict[str, Any] = {"change": type(change).__name__.lower(), "path": dotted(change.path)}
    for name in ("old", "new", "value", "other"):
        if hasattr(change, name):
            held = getattr(change, name)
            is_path = name == "other" or (name == "old" and found["change"] == "move")
            found[name] = dotted(held) if is_path else config_data(held)
    places = getattr(change, "origins", None) or (getattr(change, "origin", None),)
    found["origins"] = [_place(origin) for origin in places]
    return found


def _place(origin: Origin | None) -> dict[str, Any] | None:
    return {"file": origin.file, "line": origin.line, "text": origin.text} if origin else None
