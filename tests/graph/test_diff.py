from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge.base.origin import Origin
from forge.graph.change import Add, Change, Move, Remove, Reorder, Retarget, Set, Share, Unshare
from forge.graph.diff import diff
from forge.graph.equal import equal
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Node, Seq
from forge.graph.walk import find

if TYPE_CHECKING:
    from forge.base.paths import Path

FEW = settings(
    max_examples=2000 if os.environ.get("FORGE_FULL") else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Lowering:
    """Turns a config tree into a graph, for tests: `${a.b}` as a whole value is a reference."""

    def __init__(self, tree: dict[Any, Any]) -> None:
        self.tree = tree
        self.nodes: dict[Path, Node] = {}

    def node(self, path: Path, value: Any) -> Node:
        if path not in self.nodes:
            self.nodes[path] = self.make(path, value)
        return self.nodes[path]

    def edge(self, path: Path, value: Any) -> Edge:
        if isinstance(value, str) and value.startswith("${"):
            place = tuple(value[2:-1].split("."))
            held: Any = self.tree
            for key in place:
                held = held[key]
            edge = self.edge(place, held)
            return Edge(path[-1], edge.node, Origin("", text="ref"), ref=True)
        return Edge(path[-1], self.node(path, value))

    def make(self, path: Path, value: Any) -> Node:
        origin = Origin("c.yaml", len(path))
        if isinstance(value, list):
            return Seq(path, tuple(self.edge((*path, i), item) for i, item in enumerate(value)), origin=origin)
        if not isinstance(value, dict):
            return Missing(path) if value == "???" else Const(path, value, origin=origin)
        items = tuple(self.edge((*path, key), item) for key, item in value.items() if not str(key).startswith("_"))
        if value.get("_list_"):
            return Seq(path, items, origin=origin)
        if "_symbol_" in value:
            return Call(path, value["_symbol_"], mode="symbol", origin=origin)
        if "_target_" in value:
            args = tuple(self.edge((*path, "_args_", i), item) for i, item in enumerate(value.get("_args_", [])))
            mode = "partial" if value.get("_partial_") else "call"
            return Call(path, value["_target_"], args, items, mode, origin=origin)
        return Map(path, items, origin=origin)


def graph(tree: dict[Any, Any]) -> Graph:
    return Graph("test", Lowering(tree).node((), tree))


def changes(before: dict[Any, Any], after: dict[Any, Any]) -> tuple[Change, ...]:
    return diff(graph(before), graph(after))


ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.001, "betas": [0.9, 0.999]}
TRAIN = {
    "model": {"_target_": "m.Model", "dim": 8, "tok": "${tokenizer}"},
    "tokenizer": {"_target_": "m.Tok", "vocab": 100},
    "optimizer": ADAM,
    "trainer": {"_target_": "m.Trainer", "model": "${model}", "optimizer": "${optimizer}", "steps": 10},
}


def edited(**paths: Any) -> dict[Any, Any]:
    tree = copy.deepcopy(TRAIN)
    for name, value in paths.items():
        holder: Any = tree
        *steps, last = name.split("__")
        for step in steps:
            holder = holder[step]
        if value is ...:
            del holder[last]
        else:
            holder[last] = value
    return tree


def test_equal_graphs_have_no_changes() -> None:
    assert changes(TRAIN, copy.deepcopy(TRAIN)) == ()


def test_the_order_of_keys_is_no_difference() -> None:
    assert changes(TRAIN, dict(reversed(TRAIN.items()))) == ()


def test_the_direction_of_a_reference_is_no_difference_whatever_else_differs() -> None:
    before = {"a": {"_target_": "m.A", "x": 1}, "b": "${a}", "n": 1}
    after = {"a": "${b}", "b": {"_target_": "m.A", "x": 1}, "n": 2}
    assert changes(before, after) == (Set(("n",), 1, 2),)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (edited(optimizer__lr=0.0003), [Set(("optimizer", "lr"), 0.001, 0.0003)]),
        (edited(optimizer__lr="0.001"), [Set(("optimizer", "lr"), 0.001, "0.001")]),
        (edited(trainer__steps=10.0), [Set(("trainer", "steps"), 10, 10.0)]),
        (edited(trainer__steps=None), [Set(("trainer", "steps"), 10, None)]),
        (edited(optimizer__betas=[0.9, 0.95]), [Set(("optimizer", "betas"), [0.9, 0.999], [0.9, 0.95])]),
        (edited(optimizer__eps=1e-8), [Add(("optimizer", "eps"), 1e-8)]),
        (edited(optimizer__lr=...), [Remove(("optimizer", "lr"), 0.001)]),
        (
            edited(optimizer___target_="torch.optim.Adam"),
            [Retarget(("optimizer",), "torch.optim.AdamW", "torch.optim.Adam")],
        ),
        (edited(optimizer___partial_=True), [Set(("optimizer", "_partial_"), old=False, new=True)]),
        (
            edited(model__tok={"_target_": "m.Tok", "vocab": 100}),
            [Unshare(("model", "tok"), ("tokenizer",), {"_target_": "m.Tok", "vocab": 100})],
        ),
        (edited(trainer__optimizer="${model}"), [Share(("trainer", "optimizer"), ("model",))]),
        (edited(optimizer=None), [Set(("optimizer",), ADAM, None)]),
    ],
)
def test_each_kind_of_change_is_reported_once(after: dict[Any, Any], expected: list[Change]) -> None:
    assert list(changes(TRAIN, after)) == expected


def test_a_shared_object_becoming_one_and_back() -> None:
    apart = {"a": {"_target_": "m.A"}, "b": {"_target_": "m.A"}}
    shared = {"a": {"_target_": "m.A"}, "b": "${a}"}
    assert changes(apart, shared) == (Share(("b",), ("a",)),)
    assert changes(shared, apart) == (Unshare(("b",), ("a",), {"_target_": "m.A"}),)


def test_a_renamed_object_is_a_move_and_its_users_are_untouched() -> None:
    after = edited(optimizer=..., trainer__optimizer="${optim}")
    after["optim"] = {**ADAM, "lr": 0.1}
    found = changes(TRAIN, after)
    assert found == (Move(("optim",), ("optimizer",), None), Set(("optim", "lr"), 0.001, 0.1))


def test_an_equal_object_elsewhere_is_a_move() -> None:
    before = {"a": {"deep": {"_target_": "m.A", "x": 1}}, "b": {}}
    after = {"a": {}, "b": {"other": {"_target_": "m.A", "x": 1}}}
    assert changes(before, after) == (Move(("b", "other"), ("a", "deep"), None),)


def test_two_candidates_without_evidence_are_not_guessed() -> None:
    before = {"a": {"_target_": "m.A", "x": 1}, "b": {"_target_": "m.A", "x": 2}}
    after = {"c": {"_target_": "m.A", "x": 3}, "d": {"_target_": "m.A", "x": 4}}
    assert [type(change) for change in changes(before, after)] == [Remove, Remove, Add, Add]


def test_an_item_put_in_front_of_a_list_is_one_addition() -> None:
    a, b, new = ({"_target_": f"m.{name}", "x": 1} for name in ("A", "B", "New"))
    assert changes({"hooks": [a, b]}, {"hooks": [new, a, b]}) == (Add(("hooks", 0), new),)


def test_another_order_of_a_named_list_is_a_difference() -> None:
    a, b = {"_target_": "m.A"}, {"_target_": "m.B"}
    before = {"hooks": {"_list_": True, "a": a, "b": b}}
    after = {"hooks": {"_list_": True, "b": b, "a": a}}
    assert changes(before, after) == (Reorder(("hooks",), ("a", "b"), ("b", "a")),)


def test_a_computed_value_says_that_it_follows() -> None:
    def with_name(seed: int) -> Graph:
        node = Const(("seed",), seed)
        name = Expr(("name",), "run-${seed}", f"run-{seed}", (Edge("seed", node, ref=True),))
        return Graph("test", Map((), (Edge("seed", node), Edge("name", name))))

    assert diff(with_name(1), with_name(2)) == (
        Set(("name",), "run-1", "run-2", computed=True),
        Set(("seed",), 1, 2),
    )


def test_origins_say_where_the_old_and_the_new_value_stand() -> None:
    (change,) = changes({"a": {"b": 1}}, {"a": {"b": 2}})
    assert isinstance(change, Set)
    assert change.origins == (Origin("c.yaml", 2), Origin("c.yaml", 2))


def test_a_target_seen_through_references_only_is_compared_too() -> None:
    def trainer(vocab: int) -> Graph:
        tree = edited(tokenizer__vocab=vocab)
        return Graph("test:trainer", Lowering(tree).node(("trainer",), tree["trainer"]))

    assert diff(trainer(1), trainer(2)) == (Set(("tokenizer", "vocab"), 1, 2),)


def test_a_chain_of_two_thousand_levels_is_compared() -> None:
    def deep(value: int) -> Graph:
        path: Path = tuple("x" for _ in range(2000))
        node: Node = Const(path, value)
        while path:
            path = path[:-1]
            node = Map(path, (Edge("x", node),))
        return Graph("deep", node)

    assert diff(deep(1), deep(2)) == (Set(("x",) * 2000, 1, 2),)


# ---- properties over generated configs

KEYS = st.sampled_from(["a", "b", "c", "d"])
LEAVES = st.sampled_from([0, 1, 1.0, True, False, None, "", "x", 0.0, -0.0, float("nan"), "???", [1, 2], [1, 2.0], []])


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mapping = st.dictionaries(KEYS, children, max_size=3)
    call = st.builds(lambda kw, target: {"_target_": f"m.{target}", **kw}, mapping, st.sampled_from("AB"))
    bound = st.builds(lambda kw: {"_target_": "m.A", "_partial_": True, **kw}, mapping)
    positional = st.builds(
        lambda kw, args: {"_target_": "m.A", "_args_": args, **kw}, mapping, st.lists(children, max_size=2)
    )
    # An empty list does not tell that its items would have names, so a generated one has an item.
    named = st.builds(lambda kw: {"_list_": True, **kw}, st.dictionaries(KEYS, children, min_size=1, max_size=3))
    symbol = st.sampled_from([{"_symbol_": "m.f"}, {"_symbol_": "m.g"}])
    return st.one_of(mapping, call, bound, positional, named, symbol, st.lists(children, max_size=3))


VALUES = st.recursive(LEAVES, _containers, max_leaves=8)


@st.composite
def trees(draw: st.DrawFn) -> dict[Any, Any]:
    """A config of up to five keys; a key may refer to one before it, so that there is no cycle."""
    tree: dict[Any, Any] = {}
    for key in draw(st.lists(st.sampled_from("pqrst"), unique=True, max_size=5)):
        value = draw(VALUES)
        if tree and draw(st.booleans()):
            reference = f"${{{draw(st.sampled_from(sorted(tree)))}}}"
            value = {**value, "ref": reference} if isinstance(value, dict) and "_symbol_" not in value else reference
        tree[key] = value
    return tree


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Two configs that have much in common."""
    before = draw(trees())
    after = {**copy.deepcopy(before), **draw(trees())}
    kept = draw(st.permutations(sorted(after)))
    after = {key: after[key] for key in kept if not _refers_backward(after, key)}
    for key in [key for key in after if _dangles(after, key)]:
        after[key] = 0
    return before, after


def _references(tree: dict[Any, Any], key: str) -> list[str]:
    value = tree[key]
    inside = value.get("ref", "") if isinstance(value, dict) else value
    return [inside[2:-1]] if isinstance(inside, str) and inside.startswith("${") else []


def _refers_backward(tree: dict[Any, Any], key: str) -> bool:
    """Whether following references from here comes back here."""
    seen, open_ = set(), _references(tree, key)
    while open_:
        other = open_.pop()
        if other == key:
            return True
        if other not in seen and other in tree:
            seen.add(other)
            open_ += _references(tree, other)
    return False


def _dangles(tree: dict[Any, Any], key: str) -> bool:
    return any(other not in tree for other in _references(tree, key))


@FEW
@given(trees())
def test_a_config_does_not_differ_from_itself_read_in_another_order(tree: dict[Any, Any]) -> None:
    assert changes(tree, dict(reversed(copy.deepcopy(tree).items()))) == ()


@FEW
@given(pairs())
def test_there_are_changes_exactly_when_the_graphs_are_not_equal(pair: tuple[dict[Any, Any], dict[Any, Any]]) -> None:
    before, after = map(graph, pair)
    assert (diff(before, after) == ()) is equal(before.root, after.root)
    assert (diff(after, before) == ()) is equal(before.root, after.root)


def at(root: Node, path: Path) -> Node | None:
    return find(root, tuple(key for key in path if key not in ("_args_", "_partial_")))


@FEW
@given(pairs())
def test_what_a_change_says_about_its_path_is_true(pair: tuple[dict[Any, Any], dict[Any, Any]]) -> None:
    before, after = map(graph, pair)
    for change in diff(before, after):
        place = at(after.root, change.path)
        if isinstance(change, Remove):
            assert at(before.root, change.path) is not None
        elif isinstance(change, Move):
            assert isinstance(place, (Call, Map, Seq))
            assert at(before.root, change.old) is not None
        elif isinstance(change, Set):
            assert repr(change.old) != repr(change.new)
            if isinstance(place, Const):
                assert repr(place.value) == repr(change.new)
        elif isinstance(change, Retarget):
            assert isinstance(place, Call)
            assert place.target == change.new != change.old
        elif isinstance(change, Share):
            assert place is at(after.root, change.other)
        else:
            assert place is not None


@FEW
@given(pairs())
def test_no_path_is_reported_twice(pair: tuple[dict[Any, Any], dict[Any, Any]]) -> None:
    found = changes(*pair)
    keys = [(type(change), [(type(key), key) for key in change.path]) for change in found]
    assert all(keys.count(key) == 1 for key in keys)
