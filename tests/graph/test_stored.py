from __future__ import annotations

import json
import os
import sys
from random import Random
from typing import Any

import pytest

from forge.base.errors import GraphError
from forge.base.origin import Origin
from forge.base.secrets import Secret
from forge.graph.equal import equal
from forge.graph.node import Const, Edge, Graph, Map, Missing, Seq
from forge.graph.stored import from_json, to_json
from forge.graph.walk import walk

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "render"))
from hostile_graphs import hostile

EXAMPLES = 5000 if os.environ.get("FORGE_FULL") else 500


def test_json_keeps_everything_of_hostile_graphs() -> None:
    for seed in range(EXAMPLES):
        graph = hostile(Random(seed))
        text = to_json(graph)
        text.encode()
        again = from_json(text)
        assert again.name == graph.name
        assert equal(graph.root, again.root), seed
        assert to_json(again) == text
        assert [node.path for node in walk(again.root)] == [node.path for node in walk(graph.root)]


def test_json_keeps_the_origins() -> None:
    at = Origin("configs/x.yaml", 3, 5, "library")
    by = Origin("", layer="override", text="a=1")
    graph = Graph("g", Map((), (Edge("a", Const(("a",), 1, origin=at), by),)))
    again = from_json(to_json(graph)).root
    assert isinstance(again, Map)
    assert (again.items[0].origin, again.items[0].node.origin) == (by, at)


def test_a_secret_is_a_mask() -> None:
    graph = Graph("g", Map((), (Edge("api_key", Const(("api_key",), Secret("hunter2"))),)))
    assert "hunter2" not in to_json(graph)
    assert "********" in to_json(graph)


VALID = json.loads(to_json(Graph("g", Map((), (Edge("a", Seq(("a",), (Edge(0, Missing(("a", 0))),))),)))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("nodes"),
        lambda data: data.update(forge_graph=2),
        lambda data: data.update(root=99),
        lambda data: data.update(root=True),
        lambda data: data["nodes"][0].update(kind="__class__"),
        lambda data: data["nodes"][1].update(items=[["x", 1, None, False]]),  # itself
        lambda data: data["nodes"][1].update(items=[["x", 2, None, False]]),  # its user: a cycle
        lambda data: data["nodes"][1].update(items=[["x", -1, None, False]]),
        lambda data: data["nodes"][0].update(origin=7),
        lambda data: data["nodes"][0].update(path=[{"$code": "1"}]),
    ],
)
def test_json_that_is_no_graph_is_refused(spoil: Any) -> None:
    data = json.loads(json.dumps(VALID))
    spoil(data)
    with pytest.raises(GraphError):
        from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "[" * 100_000, "9" * 5000])
def test_text_that_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(GraphError):
        from_json(text)
