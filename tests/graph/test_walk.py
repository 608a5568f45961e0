from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forge.graph.node import Call, Const, Edge, Expr, Map, Missing, Node, Seq
from forge.graph.walk import edges, find, fold, users, walk


def edge(key: str | int, node: Node, *, ref: bool = False) -> Edge:
    return Edge(key, node, None, ref)


def shared_graph() -> tuple[Map, Call]:
    """``{a: A(x), b: [x]}`` where both x are the same call."""
    shared = Call(("x",), "m.X")
    first = Call(("a",), "m.A", kwargs=(edge("x", shared, ref=True),))
    second = Seq(("b",), (edge(0, shared, ref=True),))
    return Map((), (edge("a", first), edge("b", second), edge("x", shared))), shared


def test_children_come_before_their_users() -> None:
    root, _ = shared_graph()
    order = [id(node) for node in walk(root)]
    for node in walk(root):
        assert all(order.index(id(child.node)) < order.index(id(node)) for child in edges(node))


def test_a_shared_node_is_met_once() -> None:
    root, shared = shared_graph()
    assert sum(node is shared for node in walk(root)) == 1


def test_positional_arguments_come_before_named_ones() -> None:
    call = Call((), "m.f", (edge(0, Const((), 1)),), (edge("a", Const((), 2)),))
    assert [one.key for one in edges(call)] == [0, "a"]


def test_the_values_an_expression_read_are_its_edges() -> None:
    read = Const(("a",), 1)
    assert edges(Expr(("b",), "x-${a}", "x-1", (edge("a", read, ref=True),)))[0].node is read


def test_plain_and_missing_values_have_no_edges() -> None:
    assert edges(Const((), 1)) == edges(Missing(())) == ()


def test_depth_meets_no_recursion_limit() -> None:
    node: Node = Const((), 0)
    for _ in range(50_000):
        node = Seq((), (edge(0, node),))
    assert sum(1 for _ in walk(node)) == 50_001
    assert fold(node, lambda _, below: sum(below) + 1) == 50_001


def test_fold_combines_each_node_once() -> None:
    root, _ = shared_graph()
    calls: list[int] = []

    def size(node: Node, below: list[int]) -> int:
        calls.append(id(node))
        return 1 + sum(below)

    assert fold(root, size) == 1 + 2 + 2 + 1  # the shared node counts for each of its users
    assert len(calls) == len(set(calls)) == 4


def test_users_name_every_edge_that_leads_to_a_node() -> None:
    root, shared = shared_graph()
    found = users(root)
    assert [(user.name, one.key) for user, one in found[id(shared)]] == [("a", "x"), ("b", 0), ("", "x")]
    assert id(root) not in found


def test_find_goes_through_references() -> None:
    root, shared = shared_graph()
    assert find(root, ("a", "x")) is shared
    assert find(root, ("b", "0")) is shared  # an index as people type it


def test_find_gives_nothing_for_a_path_that_is_not_there() -> None:
    root, _ = shared_graph()
    assert find(root, ("a", "y")) is None
    assert find(root, ("x", "deeper")) is None
    assert find(root, ()) is root


@st.composite
def graphs(draw: st.DrawFn) -> Node:
    """A graph whose nodes may be used several times, built from the leaves up."""
    nodes: list[Node] = [Const((), 0)]
    for number in range(draw(st.integers(1, 25))):
        below = draw(st.lists(st.sampled_from(nodes), max_size=4))
        items = tuple(edge(f"k{position}", node) for position, node in enumerate(below))
        kind = draw(st.sampled_from(["map", "seq", "call"]))
        path = (f"n{number}",)
        nodes.append(
            Map(path, items) if kind == "map" else Seq(path, items) if kind == "seq" else Call(path, "m.C", (), items)
        )
    return nodes[-1]


@given(graphs())
def test_walking_meets_exactly_the_reachable_nodes(root: Node) -> None:
    reachable, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in reachable:
            reachable.add(id(node))
            waiting.extend(one.node for one in edges(node))
    met = [id(node) for node in walk(root)]
    assert len(met) == len(set(met))
    assert set(met) == reachable
    assert met[-1] == id(root)


@given(graphs())
def test_every_node_but_the_root_has_a_user(root: Node) -> None:
    found = users(root)
    assert {id(node) for node in walk(root)} == set(found) | {id(root)}
    assert sum(len(uses) for uses in found.values()) == sum(len(edges(node)) for node in walk(root))
