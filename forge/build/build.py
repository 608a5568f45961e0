"""From a graph to live objects: every node once, children before their users, the policy asked before any import."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, cast

from forge.base.errors import MissingValueError, TargetError
from forge.base.secrets import Secret
from forge.build.locate import locate_all
from forge.compose.project import source_packages
from forge.graph.allowed import GUARDED_ARGUMENTS
from forge.graph.node import Call, Const, Expr, Map, Missing
from forge.graph.policy import default_policy
from forge.graph.walk import edges, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.base.origin import Origin
    from forge.graph.node import Node, Seq
    from forge.graph.policy import Policy

__all__ = ["build"]


def build(
    node: Node,
    *,
    policy: Policy | None = None,
    source_folders: Sequence[str] = (),
    memo: dict[int, object] | None = None,
) -> object:
    """Build the object of a node, and everything it needs, each node once.

    ``memo`` holds what is already built, by the ``id`` of its node, and is extended; pass the same one to build several
    roots of one graph that share nodes, while the graph lives.
    """
    if policy is None:
        policy = default_policy(source_packages(source_folders))
    done: dict[int, object] = {} if memo is None else memo
    others: list[Node] = []
    for each in _needed(node):
        if isinstance(each, (Const, Expr)):
            done[id(each)] = each.value.reveal() if isinstance(each.value, Secret) else each.value
        elif id(each) not in done:
            others.append(each)
    _check(others, policy)
    objects = _locate([each for each in others if isinstance(each, Call)], policy, source_folders)
    for each in others:
        done[id(each)] = _make(each, done, objects, policy)
    return done[id(node)]


def _needed(root: Node) -> list[Node]:
    """The nodes to build, children first. What a computed text has read is left out unless something else uses it."""
    nodes = list(walk(root))
    read = (edge.node for node in nodes if type(node) is Expr for edge in node.deps)
    if all(isinstance(node, (Const, Expr)) for node in read):
        return nodes
    used = {id(root)}
    for node in reversed(nodes):
        if id(node) in used and not isinstance(node, Expr):
            used.update(id(edge.node) for edge in edges(node))
    return [node for node in nodes if id(node) in used]


def _check(nodes: list[Node], policy: Policy) -> None:
    """Everything that can be refused without an import."""
    for node in nodes:
        if isinstance(node, (Call, Map)):
            policy.check_node(node)
        elif isinstance(node, Missing):
            raise MissingValueError(
                "the value is missing (???)", origin=node.origin, key=node.name, hint=f"give it one: {node.name}=VALUE"
            )


def _locate(calls: list[Call], policy: Policy, source_folders: Sequence[str]) -> dict[str, object]:
    # Of many calls of one target, the first stands for all; the dotted names of the others are never needed.
    firsts = {call.target: call for call in reversed(calls)}
    objects = locate_all(
        [(call.target, _place(call), call.name) for call in reversed(firsts.values())], policy, source_folders
    )
    for call in calls:
        if call.mode != "symbol" and not callable(objects[call.target]):
            raise TargetError(
                f"{call.target} cannot be called",
                origin=_place(call),
                key=call.name,
                hint="write _symbol_ instead of _target_ to get the object itself",
            )
    return objects


def _make(node: Node, done: dict[int, object], objects: dict[str, object], policy: Policy) -> object:
    """The object of one node that is not a plain value, when its children are in ``done``."""
    if isinstance(node, Call):
        return _make_call(node, done, objects[node.target], policy)
    if isinstance(node, Map):
        return {edge.key: done[id(edge.node)] for edge in node.items}
    return [done[id(edge.node)] for edge in cast("Seq", node).items]


def _make_call(call: Call, done: dict[int, object], obj: object, policy: Policy) -> object:
    if call.mode == "symbol":
        return obj
    function = cast("Callable[..., object]", obj)
    args = [done[id(edge.node)] for edge in call.args]
    kwargs = {cast("str", edge.key): done[id(edge.node)] for edge in call.kwargs}
    try:
        result = functools.partial(function, *args, **kwargs) if call.mode == "partial" else function(*args, **kwargs)
    except Exception as error:
        _add_note(error, f"while building {_described(call)}")
        raise
    if isinstance(result, dict) and not GUARDED_ARGUMENTS.keys().isdisjoint(result):
        # A mapping made of pairs has keys that nobody saw in the config.
        policy.check_arguments(call.target, result, _place(call), call.name)
    return result


def _place(call: Call) -> Origin | None:
    return call.target_origin or call.origin


def _described(call: Call) -> str:
    """``trainer.model (mod.Model) from configs/model/tiny.yaml:1``."""
    named = f"{call.name} ({call.target})" if call.path else call.target
    place = _place(call)
    return f"{named} from {place}" if place else named


def _add_note(error: Exception, note: str) -> None:
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]  # what add_note does
