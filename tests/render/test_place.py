from __future__ import annotations

import os
import sys
from random import Random

import pytest

from forge.base.errors import GraphError
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map
from forge.graph.walk import find, walk
from forge.render.place import node_at, part, places

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import training
from hostile_graphs import hostile


def test_a_node_belongs_where_the_config_wrote_it() -> None:
    shown = training()
    found = places(shown.root)
    tokenizer = find(shown.root, ("tokenizer",))
    assert tokenizer is not None
    assert found.name(tokenizer) == "tokenizer"
    assert found.use_count(tokenizer) == 5


def test_what_only_references_lead_to_belongs_to_the_user_nearest_to_the_root() -> None:
    shared = Call(("elsewhere",), "a.B")
    inner = Call(("top", "inner"), "a.C", (), (Edge("deep", shared, ref=True),))
    top = Call(("top",), "a.D", (), (Edge("inner", inner), Edge("near", shared, ref=True)))
    assert places(top).name(shared) == "near"


def test_what_only_an_expression_read_has_no_place() -> None:
    read = Call((), "a.B")
    root = Map((), (Edge("x", Expr(("x",), "${a}", 1, (Edge("a", read, ref=True),))),))
    assert id(read) not in places(root).paths


def test_every_node_has_exactly_one_place() -> None:
    for seed in range(300):
        root = hostile(Random(seed)).root
        found = places(root)
        owned = [
            id(edge.node) for node in walk(root) if id(node) in found.paths for edge, own in found.parts(node) if own
        ]
        assert len(owned) == len(set(owned))
        assert {*owned, id(root)} == set(found.paths)


def test_a_part_of_a_graph_keeps_its_path_in_the_name() -> None:
    assert part(training(), "model.config").name == "pretrain/tiny:model.config"
    assert part(training(), None).name == "pretrain/tiny"


@pytest.mark.parametrize("name", ["modle", "model.confg", "[", "model..config"])
def test_an_unknown_path_is_an_error(name: str) -> None:
    with pytest.raises(GraphError):
        node_at(Graph("x", Map((), (Edge("model", Const(("model",), 1)),))), name)
