"""A graph as a Python script that builds the same objects without forge.

Four passes, a file each: `bind` chooses the variables, `imports` the import statements, `names` what the variables are
called, and `code` puts the pieces on lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.collector import collector_paused
from forge.base.errors import GraphError, MissingValueError
from forge.base.secrets import Secret
from forge.graph.node import Call, Const, Expr, Map, Missing, Seq
from forge.graph.walk import walk
from forge.render.place import part, places
from forge.render.python.bind import bind
from forge.render.python.code import Atom, Group, Item, argument, comment, is_identifier, is_taken, literal, written
from forge.render.python.imports import PARTIAL, imports_for, split_target
from forge.render.python.names import names_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.graph.node import Edge, Graph, Node
    from forge.render.place import Places
    from forge.render.python.code import Code
    from forge.render.python.imports import Home, Imports

__all__ = ["python"]

_ALL = "objects"
_ONE = "result"


@collector_paused()
def python(
    graph: Graph,
    *,
    target: str | None = None,
    origins: bool = False,
    home: Home | None = None,
    search: Sequence[str] = (),
) -> str:
    """The script that builds a graph, or one part of it.

    With ``origins``, comments say where each value is written. ``home`` tells where in a target the module ends, when
    somebody knows: the module and the names after it. ``search`` are folders in which the script has to look for code.
    """
    shown = part(graph, target)
    found = places(shown.root)
    nodes = [node for node in walk(shown.root) if id(node) in found.paths]
    _refuse_what_has_no_source(nodes, home)
    imports = imports_for(_targets(nodes), home)
    whole = isinstance(shown.root, Map)
    last = _ALL if whole else _ONE
    variables = bind(found)
    names = names_for(variables, found, {*imports.names, last, "sys"})
    if not whole:
        names |= _root_name(shown.root, {*imports.names, *names.values()})
    script = _Script(found, imports, names, origins=origins)
    head = comment(f"Builds the objects of the config {shown.name}. Written by forge.")
    body = [script.statement(node) for node in variables]
    end = names.get(id(shown.root), last)
    body.append(written(script.value(shown.root), f"{end} = "))
    return "\n".join(
        [head, "", *_search(search), *_and_blank(imports.lines()), *body, "", "", *_main(end, whole=whole), ""]
    )


def _refuse_what_has_no_source(nodes: list[Node], home: Home | None) -> None:
    for node in nodes:
        if isinstance(node, Missing):
            raise MissingValueError(
                "the value is still ???", origin=node.origin, key=node.name, hint=f"Give it one: {node.name}=VALUE"
            )
        if isinstance(node, Call):
            split_target(node.target, home, node.target_origin or node.origin)
            for edge in node.kwargs:
                if not isinstance(edge.key, str):
                    raise GraphError(f"{edge.key!r} is not the name of an argument", origin=edge.origin, key=node.name)


def _targets(nodes: list[Node]) -> Iterator[str]:
    calls = [node for node in nodes if isinstance(node, Call)]
    yield from (node.target for node in calls)
    if any(node.mode == "partial" for node in calls):
        yield PARTIAL


def _root_name(root: Node, taken: set[str]) -> dict[int, str]:
    """A single object is called by its key."""
    key = root.path[-1] if root.path else None
    return (
        {id(root): key}
        if isinstance(key, str) and is_identifier(key) and not is_taken(key) and key not in taken
        else {}
    )


def _and_blank(lines: list[str]) -> list[str]:
    return [*lines, ""] if lines else []


def _search(folders: Sequence[str]) -> list[str]:
    """The lines that let the imports after them find a project's own code."""
    if not folders:
        return []
    return ["import sys", "", *(written(literal(folder), "sys.path.insert(0, ") + ")" for folder in folders), ""]


def _main(name: str, *, whole: bool) -> list[str]:
    """What the script does when it is run: print what it built."""
    if not whole:
        return ['if __name__ == "__main__":', f"    print({name})"]
    return ['if __name__ == "__main__":', f"    for key, value in {name}.items():", '        print(f"{key}: {value}")']


class _Script:
    def __init__(self, places: Places, imports: Imports, names: dict[int, str], *, origins: bool) -> None:
        self.places = places
        self.imports = imports
        self.names = names
        self.origins = origins

    def statement(self, node: Node) -> str:
        """The assignment of one variable."""
        note = comment(str(node.origin)) if self.origins and node.origin else ""
        return written(self.value(node), f"{self.names[id(node)]} = ", note)

    def value(self, node: Node) -> Code:
        """The source of a node where it is written; `bind` keeps the nesting flat, so this recursion is too."""
        if isinstance(node, Const):
            return literal(node.value)
        if isinstance(node, Expr):
            return literal(node.value)
        if isinstance(node, Seq):
            return Group("[", tuple(self._item(edge) for edge in node.items), "]")
        if isinstance(node, Map):
            return Group("{", tuple(self._item(edge, self._key(edge)) for edge in node.items), "}")
        return self._call(node) if isinstance(node, Call) else Atom("...")

    def _call(self, node: Call) -> Code:
        function = self.imports.expressions[node.target]
        if node.mode == "symbol":
            return Atom(function)
        named = [edge for edge in node.kwargs if is_identifier(edge.key)]
        others = [edge for edge in node.kwargs if not is_identifier(edge.key)]
        items = [self._item(edge) for edge in node.args]
        items += [self._item(edge, argument(str(edge.key))) for edge in named]
        if others:
            items.append(Item(Group("{", tuple(self._item(edge, self._key(edge)) for edge in others), "}"), "**"))
        if node.mode == "partial":
            return Group(f"{self.imports.expressions[PARTIAL]}(", (Item(Atom(function)), *items), ")")
        return Group(f"{function}(", tuple(items), ")")

    def _key(self, edge: Edge) -> str:
        key = literal(edge.key)
        return f"{key.text}: " if isinstance(key, Atom) else ""

    def _item(self, edge: Edge, before: str = "") -> Item:
        node = edge.node
        code = Atom(self.names[id(node)]) if id(node) in self.names else self.value(node)
        if isinstance(node, (Const, Expr)) and isinstance(node.value, Secret):
            return Item(code, before, comment("a secret, not shown here"), pinned=True)
        if self.origins and edge.origin and (before or not isinstance(node, Const)):
            return Item(code, before, comment(str(edge.origin)), pinned=True)
        return Item(code, before)
