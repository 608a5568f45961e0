from __future__ import annotations

import os
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.graph.node import Call, Const, Edge, Map, Node, Seq
from forge.graph.walk import walk
from forge.render.alike import grouped, ranges, shapes
from forge.render.place import places

sys.path.insert(0, os.path.dirname(__file__))
import itertools

from drawn_examples import C, Ref, graph
from hostile_graphs import hostile

LAYER = C("m.Layer", {"dim": 1, "norm": C("m.Norm", {"eps": 1.0})})


def groups(items: list[object], **before: object) -> list[list[int]]:
    """How the items of one list are grouped, in a config that has ``before`` above it."""
    root = graph("x", {**before, "items": items}).root
    assert isinstance(root, Map)
    found = places(root)
    return grouped(root.items[-1].node, found, shapes(found))


def test_objects_that_differ_in_plain_values_only_are_one_group() -> None:
    layers = [C("m.Layer", {"dim": n, "norm": C("m.Norm", {"eps": n / 2})}) for n in range(4)]
    assert groups([*layers]) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    "other",
    [
        C("m.Other", {"dim": 1, "norm": C("m.Norm", {"eps": 1.0})}),
        C("m.Layer", {"dim": 1, "norm": C("m.Norm", {"eps": 1.0})}, mode="partial"),
        C("m.Layer", {"dims": 1, "norm": C("m.Norm", {"eps": 1.0})}),
        C("m.Layer", {"norm": C("m.Norm", {"eps": 1.0}), "dim": 1}),
        C("m.Layer", {"dim": 1, "norm": C("m.Norm", {"epsilon": 1.0})}),
        C("m.Layer", {"dim": 1, "norm": {"eps": 1.0}}),
        C("m.Layer", {"dim": 1, "norm": 1.0}),
        C("m.Layer", {"dim": 1, "norm": C("m.Norm", {"eps": 1.0})}, args=[1]),
    ],
)
def test_what_differs_in_more_than_a_value_stands_alone(other: C) -> None:
    assert groups([LAYER, LAYER, other, LAYER]) == [[0, 1, 3], [2]]


def test_two_that_are_alike_are_drawn_both() -> None:
    assert groups([LAYER, LAYER, C("m.Other")]) == [[0], [1], [2]]


def test_plain_values_and_symbols_are_never_grouped() -> None:
    assert groups([1, 1, 1, 1]) == [[0], [1], [2], [3]]
    assert groups([C("m.f", mode="symbol")] * 3) == [[0], [1], [2]]


def test_users_of_one_shared_object_are_alike_and_users_of_two_are_not() -> None:
    users = [C("m.Layer", {"rope": Ref("rope")}) for _ in range(3)]
    assert groups([*users], rope=C("m.Rope")) == [[0, 1, 2]]
    others = [C("m.Layer", {"rope": Ref("rope2")}) for _ in range(3)]
    assert groups([*users, *others], rope=C("m.Rope"), rope2=C("m.Rope")) == [[0, 1, 2], [3, 4, 5]]


def test_an_object_that_others_refer_to_or_that_holds_one_is_drawn_itself() -> None:
    alike = [Call(("items", n), "m.Layer", (), (Edge("inner", Call((), "m.Norm")),)) for n in range(5)]
    items = Seq(("items",), tuple(Edge(n, node) for n, node in enumerate(alike)))
    users = (Edge("a", alike[1], ref=True), Edge("b", alike[3].kwargs[0].node, ref=True))
    found = places(Map((), (Edge("items", items), *users)))
    assert grouped(items, found, shapes(found)) == [[0, 2, 4], [1], [3]]


def test_only_lists_are_grouped() -> None:
    root = graph("x", {"a": C("m.A"), "b": C("m.A"), "c": C("m.A")}).root
    found = places(root)
    assert grouped(root, found, shapes(found)) == [[0], [1], [2]]


def test_a_value_key_true_is_not_the_key_one() -> None:
    def holder(key: int) -> Node:
        return Map((), (Edge(key, Const((), 1)),))

    pair = Seq((), (Edge(0, holder(1)), Edge(1, holder(True))))
    found = shapes(places(pair))
    first, second = (found[id(edge.node)] for edge in pair.items)
    assert first != second


def test_each_position_is_in_one_group_of_nodes_of_one_shape() -> None:
    for seed in range(300):
        found = places(hostile(Random(seed)).root)
        shape = shapes(found)
        for node in walk(found.root):
            if id(node) not in found.paths:
                continue
            parts = list(found.parts(node))
            made = grouped(node, found, shape)
            assert sorted(position for group in made for position in group) == list(range(len(parts)))
            assert all(len(group) == 1 or len(group) >= 3 for group in made)
            assert made == sorted(made)
            for group in made:
                assert len({shape[id(parts[position][0].node)] for position in group}) == 1


@given(st.sets(st.integers(0, 60)))
def test_ranges_read_back_as_the_positions(positions: set[int]) -> None:
    text = ranges(sorted(positions))
    ends = [list(map(int, run.split("-"))) for run in text.split(", ") if run]
    assert [n for run in ends for n in range(run[0], run[-1] + 1)] == sorted(positions)
    assert all(later[0] > earlier[-1] + 1 for earlier, later in itertools.pairwise(ends))
