from __future__ import annotations

import dataclasses

import pytest

from forge.base.origin import Origin
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Node, Seq


@pytest.mark.parametrize(
    "node",
    [
        Const(("a",), 1),
        Seq(("a",), ()),
        Map(("a",), ()),
        Call(("a",), "m.C"),
        Expr(("a",), "${x}!", "y!"),
        Missing(("a",)),
    ],
)
def test_a_node_cannot_be_changed(node: Node) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        node.path = ("b",)  # type: ignore[misc]
    assert not hasattr(node, "__dict__")


def test_nodes_are_equal_only_when_they_are_the_same_object() -> None:
    one, two = Const(("a",), 1), Const(("a",), 1)
    assert one == one  # noqa: PLR0124 - identity is the point
    assert one != two
    assert len({one, two}) == 2


def test_a_node_is_named_by_its_dotted_path() -> None:
    assert Const(("trainer", "layers", 0, "odd key"), 1).name == "trainer.layers[0]['odd key']"
    assert Map((), ()).name == ""


def test_where_a_node_was_written_is_kept_and_not_printed() -> None:
    node = Call(("a",), "m.C", origin=Origin("/x/a.yaml", 3), target_origin=Origin("/x/a.yaml", 4))
    assert str(node.origin).endswith("a.yaml:3")
    assert str(node.target_origin).endswith("a.yaml:4")
    assert "yaml" not in repr(node)


def test_a_call_is_called_unless_it_says_otherwise() -> None:
    assert Call((), "m.C").mode == "call"
    assert Call((), "m.C", mode="partial").mode == "partial"


def test_an_edge_says_whether_it_stands_for_a_reference() -> None:
    node = Const(("a",), 1)
    assert Edge("b", node, None, ref=True).node is node
    assert Edge("a", node).ref is False


def test_a_graph_is_a_name_and_a_root() -> None:
    root = Map((), ())
    assert Graph("train", root).root is root
