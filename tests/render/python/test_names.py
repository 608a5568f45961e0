from __future__ import annotations

import keyword
import os
import sys
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.graph.node import Call, Edge, Map, Node
from forge.render.place import places
from forge.render.python.bind import bind
from forge.render.python.code import is_identifier, is_taken
from forge.render.python.names import names_for

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir))
from hostile_graphs import hostile

KEYS = (
    st.text(max_size=5)
    | st.sampled_from([*keyword.kwlist, "print", "model", "a-b", "a_b", "x" * 70, "é"])
    | st.integers()
)


def tree(*paths: tuple[Any, ...]) -> tuple[list[Node], Map]:
    """An object at each path, and the mapping that holds them all."""
    nodes: list[Node] = [Call(path, "m.A") for path in paths]
    edges = []
    for path, node in zip(paths, nodes, strict=True):
        for depth in range(len(path) - 1, 0, -1):
            node = Map(path[:depth], (Edge(path[depth], node),))  # noqa: PLW2901 - one more mapping around it
        edges.append(Edge(path[0], node))
    return nodes, Map((), tuple(edges))


def called(*paths: tuple[Any, ...], taken: set[str] | None = None) -> list[str]:
    """The names for objects at these paths."""
    nodes, root = tree(*paths)
    found = names_for(nodes, places(root), taken if taken is not None else set())
    return [found[id(node)] for node in nodes]


def test_a_variable_is_called_by_its_key() -> None:
    assert called(("model",), ("dataset", "train")) == ["model", "train"]


def test_the_shortest_path_chooses_first_and_the_other_is_called_by_more_of_its_path() -> None:
    assert called(("trainer", "model"), ("model",)) == ["trainer_model", "model"]
    assert called(("a", "b", "x"), ("c", "b", "x"), ("x",)) == ["b_x", "c_b_x", "x"]


def test_numbers_come_last() -> None:
    assert called(("model",), taken={"model"}) == ["model_2"]
    assert called(("a-b",), ("a b",), ("a.b",)) == ["a_b", "a_b_2", "a_b_3"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("print",), "print_2"),
        (("layers", 0), "layers_0"),
        (("class",), "value_2"),
        (("model", "class"), "model_class"),
        (("__name__",), "name"),
        ((0,), "value_2"),
        (("é",), "value_2"),
        (("match",), "match_2"),
        (("learning rate (max)",), "learning_rate_max"),
    ],
)
def test_a_key_that_is_no_free_name_becomes_one(path: tuple[Any, ...], expected: str) -> None:
    assert called(path) == [expected]


def test_a_long_path_keeps_its_end() -> None:
    (name,) = called(("x" * 70 + "_end",))
    assert len(name) <= 40
    assert name.endswith("x_end")


def test_the_names_that_were_given_are_taken_afterwards() -> None:
    taken = {"objects"}
    assert called(("objects",), ("model",), taken=taken) == ["objects_2", "model"]
    assert taken == {"objects", "objects_2", "model"}


@given(st.lists(st.lists(KEYS, min_size=1, max_size=3).map(tuple), max_size=8, unique_by=repr), st.sets(KEYS.map(str)))
def test_names_are_free_different_and_names(paths: list[tuple[Any, ...]], taken: set[str]) -> None:
    names = called(*paths, taken=set(taken))
    assert len(set(names)) == len(names)
    assert not set(names) & taken
    assert all(is_identifier(name) and not is_taken(name) for name in names)


def test_the_variables_of_any_graph_have_names() -> None:
    for seed in range(300):
        found = places(hostile(Random(seed)).root)
        variables = bind(found)
        names = names_for(variables, found, {"objects"})
        assert set(names) == {id(node) for node in variables}
        assert len({*names.values(), "objects"}) == len(variables) + 1
