from __future__ import annotations

from forge.graph.align import contents, place_table
from forge.graph.node import Call, Const, Edge, Map, Node, Seq


def shared(*, first: str) -> Map:
    """One object at `a` and `b`; `first` is the key under which it is written, the other one refers to it."""
    node = Call((first,), "m.A", kwargs=(Edge("x", Const((first, "x"), 1)),))
    return Map((), tuple(Edge(key, node, ref=key != first) for key in "ab"))


def listed(*values: int) -> Map:
    calls = [Call(("l", i), "m.A", kwargs=(Edge("x", Const(("l", i, "x"), v)),)) for i, v in enumerate(values)]
    return Map((), (Edge("l", Seq(("l",), tuple(Edge(i, call) for i, call in enumerate(calls)))),))


def test_a_shared_object_lives_where_it_is_written() -> None:
    table = place_table(shared(first="b"))
    assert table["'a'",].shared
    assert not table["'b'",].shared
    assert ("'b'", "'x'") in table


def test_a_later_graph_keeps_the_home_when_a_reference_was_turned_round() -> None:
    earlier = place_table(shared(first="b"))
    later = place_table(shared(first="a"), earlier)
    assert set(later) == set(earlier)
    assert [slot.home for slot in later.values()] == [slot.home for slot in earlier.values()]


def test_items_of_a_longer_list_take_the_positions_of_the_same_items() -> None:
    before, after = listed(1, 2), listed(0, 1, 2)
    earlier = place_table(before)
    later = place_table(after, earlier, contents(before, after))
    assert later["'l'", "0"].path == ("l", 1)
    assert later["'l'", "+0"].path == ("l", 0)


def test_keys_of_different_types_are_different_places() -> None:
    root = Map((), tuple(Edge(key, Const((key,), 0)) for key in (1, True, "1", 1.0, None)))
    assert len(place_table(root)) == 6


def test_a_node_that_only_references_reach_lives_outside() -> None:
    tok = Call(("tok",), "m.Tok")
    root: Node = Call(("trainer",), "m.T", kwargs=(Edge("tok", tok, ref=True), Edge("t", tok, ref=True)))
    assert [slot.node for slot in place_table(root).values() if slot.outside] == [tok]


def test_equal_content_has_the_same_number_whatever_the_order_of_keys() -> None:
    one, two = (Map((), tuple(Edge(key, Const((key,), key)) for key in keys)) for keys in ("ab", "ba"))
    three = Map((), (Edge("a", Const(("a",), "a")), Edge("b", Const(("b",), 1))))
    numbers = contents(one, two, three)
    assert numbers[id(one)] == numbers[id(two)] != numbers[id(three)]
