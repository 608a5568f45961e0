from __future__ import annotations

import os
import sys
from random import Random

import pytest

from forge.base.paths import dotted
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Node, Seq
from forge.graph.walk import walk
from forge.render.place import places
from forge.render.python.bind import bind, has_identity

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir))
from drawn_examples import C, Ref, Text, decoder, graph, training
from hostile_graphs import hostile


def bound(made: Graph) -> list[str]:
    """The paths of the nodes that become variables."""
    return [dotted(node.path) for node in bind(places(made.root))]


def test_objects_lists_and_mappings_at_the_top_are_variables_and_plain_values_are_not() -> None:
    config = {"seed": 1, "text": Text("${seed}", "1"), "list": [1], "map": {"a": 1}, "object": C("m.A")}
    assert bound(graph("x", config)) == ["list", "map", "object"]


def test_what_several_use_is_a_variable_wherever_it_was_written() -> None:
    deep = C("m.A", {"inner": C("m.Shared")})
    assert bound(graph("x", {"a": deep, "b": C("m.B", {"other": Ref("a.inner")})})) == ["a.inner", "a", "b"]
    assert bound(graph("x", {"a": deep, "b": C("m.B", {"other": 1})})) == ["a", "b"]


def test_a_shared_symbol_or_plain_value_is_written_at_each_use() -> None:
    config = {"a": C("m.A", {"dtype": C("m.f", mode="symbol"), "n": 1}), "b": [Ref("a.dtype"), Ref("a.n")]}
    assert bound(graph("x", config)) == ["a", "b"]


@pytest.mark.parametrize(("arguments", "expected"), [(15, ["a"]), (16, ["a.big", "a"])])
def test_an_object_too_wide_for_its_place_is_a_variable(arguments: int, expected: list[str]) -> None:
    big = C("m.Big", {f"x{n}": n for n in range(arguments)})
    assert bound(graph("x", {"a": C("m.A", {"big": big})})) == expected


def test_brackets_that_would_nest_too_deeply_are_cut_into_variables() -> None:
    nested: list[object] = []
    for _ in range(14):
        nested = [nested]
    assert [path.count("[0]") for path in bound(graph("x", {"list": nested}))] == [9, 3, 0]


def test_a_single_object_is_not_a_variable_of_its_own() -> None:
    root = Call((), "m.A", (), (Edge("x", Const(("x",), 1)),))
    assert bind(places(root)) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Const((), 1), False),
        (Missing(()), False),
        (Call((), "m.f", mode="symbol"), False),
        (Call((), "m.f", mode="partial"), True),
        (Call((), "m.f"), True),
        (Seq((), ()), True),
        (Map((), ()), True),
        (Expr((), "${x}", "text"), False),
        (Expr((), "${x}", [1]), True),
        (Expr((), "${x}", {}), True),
    ],
)
def test_only_what_can_be_changed_has_an_identity(node: Node, expected: object) -> None:
    assert has_identity(node) is expected


def test_variables_are_few_in_order_and_keep_the_brackets_flat() -> None:
    for made in (training(), decoder(), *(hostile(Random(seed)) for seed in range(300))):
        found = places(made.root)
        variables = bind(found)
        position = {id(node): number for number, node in enumerate(walk(made.root))}
        order = [position[id(node)] for node in variables]
        assert order == sorted(set(order)), "parts stand before their users, each once"
        assert made.root not in variables
        assert {id(node) for node in variables} <= set(found.paths)
        stops = {id(node) for node in variables}
        assert all(_brackets(node, found, stops) <= 6 for node in [*variables, made.root])


def _brackets(node: Node, found: object, stops: set[int]) -> int:
    """How deep brackets nest in the statement of one node."""
    inner = [edge.node for edge, _ in found.parts(node) if id(edge.node) not in stops]  # type: ignore[attr-defined]
    return 1 + max((_brackets(each, found, stops) for each in inner), default=0)
