from __future__ import annotations

import math

import pytest

from forge.base.origin import Origin
from forge.base.secrets import Secret
from forge.graph.equal import equal, node_of, same_value
from forge.graph.node import Call, Const, Edge, Expr, Map, Missing, Seq


def call(target: str, mode: str = "call", **kwargs: object) -> Call:
    edges = tuple(Edge(key, value if not_plain(value) else node_of(value)) for key, value in kwargs.items())
    return Call((), target, (), edges, mode)  # type: ignore[arg-type]


def not_plain(value: object) -> bool:
    return isinstance(value, (Call, Const, Map, Seq, Expr, Missing))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (0, False, False),
        (0.0, -0.0, False),
        (math.nan, math.nan, True),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        ("1", 1, False),
        (None, "null", False),
        (Secret("a"), Secret("a"), True),
        (Secret("a"), Secret("b"), False),
        (Secret("a"), "a", False),
    ],
)
def test_values_are_the_same_only_with_their_types(a: object, b: object, *, same: bool) -> None:
    assert same_value(a, b) is same
    assert equal(Const((), a), Const((), b)) is same


def test_structure_counts() -> None:
    value = {"a": [1, {"b": None}], "c": {}}
    assert equal(node_of(value), node_of(value))
    assert not equal(node_of({"a": 1}), node_of({"a": 1, "b": 2}))
    assert not equal(node_of({"a": 1, "b": 2}), node_of({"a": 1}))
    assert not equal(node_of([1, 2]), node_of([2, 1]))
    assert not equal(node_of([1]), node_of([1, 2]))
    assert not equal(node_of([]), node_of({}))
    assert not equal(node_of({"1": 1}), node_of({1: 1}))
    assert not equal(node_of({True: 1}), node_of({1: 1}))


def test_the_order_of_keys_and_the_names_of_list_items_do_not_count() -> None:
    assert equal(node_of({"a": 1, "b": 2}), node_of({"b": 2, "a": 1}))
    assert equal(Seq((), (Edge("x", Const((), 1)),)), node_of([1]))


def test_paths_and_origins_do_not_count() -> None:
    assert equal(Const(("a",), 1, origin=Origin("x.yaml", 3)), Const(("b",), 1))


def test_calls_differ_by_target_mode_and_arguments() -> None:
    assert equal(call("a.B", x=1), call("a.B", x=1))
    assert not equal(call("a.B", x=1), call("a.C", x=1))
    assert not equal(call("a.B", x=1), call("a.B", "partial", x=1))
    assert not equal(call("a.B", x=1), call("a.B", y=1))
    positional = Call((), "a.B", (Edge(0, Const((), 1)),), ())
    assert equal(positional, Call((), "a.B", (Edge(0, Const((), 1)),), ()))
    assert not equal(positional, Call((), "a.B", (Edge(0, Const((), 2)),), ()))
    assert not equal(positional, call("a.B", **{"0": 1}))


def test_sharing_counts_in_both_directions() -> None:
    shared = call("a.B")
    together = Map((), (Edge("x", shared), Edge("y", shared, ref=True)))
    apart = Map((), (Edge("x", call("a.B")), Edge("y", call("a.B"))))
    assert equal(together, together)
    assert not equal(together, apart)
    assert not equal(apart, together)


def test_sharing_pairs_the_right_objects() -> None:
    def four(order: str) -> Seq:
        made = {"a": call("a.B"), "b": call("a.B")}
        return Seq((), tuple(Edge(index, made[name]) for index, name in enumerate(order)))

    assert equal(four("abab"), four("baba"))
    assert not equal(four("abab"), four("aabb"))
    assert not equal(four("aab"), four("aaa"))


def test_sharing_of_plain_values_and_symbols_cannot_be_observed() -> None:
    one, two = Const((), 5), call("torch.bfloat16", "symbol")
    for node in (one, two):
        together = Seq((), (Edge(0, node), Edge(1, node, ref=True)))
        copy = Const((), 5) if node is one else call("torch.bfloat16", "symbol")
        assert equal(together, Seq((), (Edge(0, node), Edge(1, copy))))


def test_an_expression_equals_its_value() -> None:
    text = Expr((), "x-${a}", "x-1", (Edge("a", Const((), 1)),))
    assert equal(text, Const((), "x-1"))
    assert equal(Const((), "x-1"), text)
    assert equal(text, Expr((), "${oc.env:X}", "x-1"))
    assert not equal(text, Const((), "x-2"))
    assert equal(Expr((), "${list}", [1, [2]]), node_of([1, [2]]))
    assert not equal(Expr((), "${list}", [1, [2]]), node_of([1, [3]]))


def test_a_missing_value_equals_only_a_missing_value() -> None:
    assert equal(Missing(()), Missing(("a",)))
    assert not equal(Missing(()), Const((), None))


def test_a_deep_graph_meets_no_recursion_limit() -> None:
    def deep() -> Map:
        node: Map = Map((), ())
        for _ in range(20_000):
            node = Map((), (Edge("x", node),))
        return node

    assert equal(deep(), deep())
