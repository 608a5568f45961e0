"""What a dotted name may turn out to be, and classes as their source shows them: bases, members, metaclass."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from forge.graph.static.bindings import Defined
from forge.graph.static.misspelt import surely_meant

if TYPE_CHECKING:
    from forge.graph.static.disk import Module
    from forge.graph.static.source import SourceTree

__all__ = [
    "Absent",
    "Definition",
    "Resolved",
    "Unknown",
    "class_member",
    "is_named_tuple",
    "last_name",
    "lineage",
    "metaclass_calls",
]

# Bases that bring no constructor and no members a config could name.
_PLAIN_BASES: Final = frozenset({"object", "Generic", "Protocol", "ABC"})
_PLAIN_METACLASSES: Final = frozenset({"type", "ABCMeta"})


class Definition(NamedTuple):
    """A class or function and the file it stands in; ``owner`` is the class that a method was reached through.

    ``wrappers`` are the functions it was passed through afterwards, as in ``X = wrapper(X)``.
    """

    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    module: Module
    owner: Definition | None = None
    wrappers: tuple[tuple[ast.expr, Module], ...] = ()


class Unknown(NamedTuple):
    """It cannot be told.

    ``compiled``: the trail ends at a module without source. ``open``: no statement binds the name, but the module may
    make names while it runs.
    """

    compiled: bool = False
    open: bool = False


class Absent(NamedTuple):
    """A name that is surely not there: which part, in what, and the names that are there.

    ``as_module`` when that is sure only of a module: a compiled one may bring functions that its ``.pyi`` leaves out.
    """

    part: str
    where: str
    candidates: tuple[str, ...] = ()
    as_module: bool = False


Resolved: TypeAlias = "Definition | Module | Unknown | Absent"


def lineage(source: SourceTree, definition: Definition) -> list[Definition | None]:
    """A class and its bases in the order Python looks through them; None stands for one that cannot be told."""
    found = _depth_first(source, definition, frozenset())
    kept: list[Definition | None] = []
    later: set[int] = set()
    for one in reversed(found):
        if one is None or id(one.node) not in later:
            kept.append(one)
        if one is not None:
            later.add(id(one.node))
    return kept[::-1]


def class_member(source: SourceTree, definition: Definition, name: str) -> Resolved:
    """What ``Class.name`` means."""
    if not isinstance(definition.node, ast.ClassDef):
        return Unknown()
    classes = lineage(source, definition)
    members: set[str] = set()
    for one in classes:
        if one is None:
            return Unknown()
        names = source.body(one).names
        if name in names:
            found = names[name]
            meaning = found[0].meaning
            if len(found) == 1 and isinstance(meaning, Defined):
                return Definition(meaning.node, one.module, definition)
            return Unknown()
        members.update(names)
    return _no_member(source, definition, name, members)


def is_named_tuple(definition: Definition) -> bool:
    """Whether a class is written as ``class X(NamedTuple)``, whose fields are its parameters."""
    node = definition.node
    return isinstance(node, ast.ClassDef) and any(last_name(base) == "NamedTuple" for base in node.bases)


def metaclass_calls(source: SourceTree, classes: list[Definition | None]) -> bool:
    """Whether a metaclass may decide itself what calling the class means."""
    for one in classes:
        if one is None or not isinstance(one.node, ast.ClassDef):
            continue
        for keyword in one.node.keywords:
            if keyword.arg == "metaclass" and last_name(keyword.value) not in _PLAIN_METACLASSES:
                found = source.meaning(keyword.value, one.module)
                if not isinstance(found, Definition) or _defines_call(source, found):
                    return True
    return False


def last_name(expression: ast.expr) -> str:
    """``c`` of ``a.b.c``, of ``a.b.c(...)`` and of ``a.b.c[...]``."""
    while isinstance(expression, (ast.Call, ast.Subscript)):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def _depth_first(source: SourceTree, definition: Definition, above: frozenset[int]) -> list[Definition | None]:
    node = definition.node
    if id(node) in above or not isinstance(node, ast.ClassDef):
        return [None]
    found: list[Definition | None] = [definition]
    for base in node.bases:
        name = last_name(base)
        if name in _PLAIN_BASES or (name == "NamedTuple" and isinstance(base, (ast.Name, ast.Attribute))):
            continue
        meaning = source.meaning(base, definition.module)
        if isinstance(meaning, Definition):
            found.extend(_depth_first(source, meaning, above | {id(node)}))
        else:
            found.append(None)
    return found


def _defines_call(source: SourceTree, metaclass: Definition) -> bool:
    """`type` itself, at the end of every metaclass, cannot be read and calls the class in the usual way."""
    node = metaclass.node
    if not isinstance(node, ast.ClassDef):
        return True
    if "__call__" in source.body(metaclass).names:
        return True
    for base in node.bases:
        if last_name(base) not in _PLAIN_METACLASSES:
            found = source.meaning(base, metaclass.module)
            if not isinstance(found, Definition) or _defines_call(source, found):
                return True
    return False


def _no_member(source: SourceTree, definition: Definition, name: str, members: set[str]) -> Absent | Unknown:
    """Members may also be put on a class from outside, so only a slip of the fingers is surely absent."""
    public = tuple(sorted(member for member in members if not member.startswith("_")))
    assigned = re.search(rb"\." + re.escape(name.encode()) + rb"\s*=", definition.module.data)
    if assigned or metaclass_calls(source, [definition]) or surely_meant(name, public) is None:
        return Unknown()
    return Absent(name, definition.node.name, public)
