"""Runs a script that forge wrote, with a recorder in the place of everything it imports, and gives the graph it builds."""

from __future__ import annotations

import ast
from typing import Any

from forge.graph.node import Call, Const, Edge, Map, Node, Seq

ALLOWED = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.Assign, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Call, ast.keyword,
    ast.Attribute, ast.List, ast.Dict, ast.UnaryOp, ast.USub, ast.If, ast.Compare, ast.Eq, ast.For, ast.Tuple, ast.JoinedStr,
    ast.FormattedValue, ast.Expr,
)  # fmt: skip
"""Every kind of syntax that a script may consist of."""


class Recorder:
    """Stands for an imported object: remembers how it is reached and how it is called."""

    def __init__(self, target: str) -> None:
        object.__setattr__(self, "target", target)

    def __getattribute__(self, name: str) -> Any:
        return Recorder(f"{target_of(self)}.{name}")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Made:
        return Made(self, args, kwargs)


class Made:
    """A call that a script made."""

    def __init__(self, function: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.target, self.mode = target_of(function), "call"
        self.args, self.kwargs = args, kwargs
        if self.target == "functools.partial":
            self.target, self.mode, self.args = target_of(args[0]), "partial", args[1:]


def target_of(recorder: Recorder) -> str:
    found: str = object.__getattribute__(recorder, "target")
    return found


def rebuild(source: str, name: str = "objects") -> Node:
    """The node that stands for the value of a variable after the script ran."""
    module = ast.parse(source)
    for node in ast.walk(module):
        assert isinstance(node, ALLOWED), ast.dump(node)
    space: dict[str, Any] = {"__name__": "graph"}
    body = []
    for statement in module.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            space |= _imported(statement)
        else:
            body.append(statement)
    module.body = body
    exec(compile(module, "graph.py", "exec"), space)  # noqa: S102 - that it runs is what is tested
    return _node(space[name], {})


def _imported(statement: ast.Import | ast.ImportFrom) -> dict[str, Recorder]:
    found = {}
    for each in statement.names:
        assert each.name != "*"
        if isinstance(statement, ast.ImportFrom):
            assert not statement.level
            assert each.asname is None
            found[each.name] = Recorder(f"{statement.module}.{each.name}")
        else:
            assert each.asname or "." not in each.name
            found[each.asname or each.name] = Recorder(each.name)
    return found


def _node(value: Any, known: dict[int, Node]) -> Node:
    if type(value) is Recorder:
        return Call((), target_of(value), mode="symbol")
    if not isinstance(value, (list, dict, Made)):
        return Const((), value)
    if id(value) not in known:
        known[id(value)] = _container(value, known)
    return known[id(value)]


def _container(value: Any, known: dict[int, Node]) -> Node:
    if isinstance(value, list):
        return Seq((), tuple(Edge(index, _node(item, known)) for index, item in enumerate(value)))
    if isinstance(value, dict):
        return Map((), tuple(Edge(key, _node(item, known)) for key, item in value.items()))
    args = tuple(Edge(index, _node(item, known)) for index, item in enumerate(value.args))
    kwargs = tuple(Edge(key, _node(item, known)) for key, item in value.kwargs.items())
    return Call((), value.target, args, kwargs, value.mode)
