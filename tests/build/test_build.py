from __future__ import annotations

import datetime as dt
import functools
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import MissingValueError, PolicyError, TargetError, TrustError
from forge.base.origin import Origin
from forge.base.secrets import Secret
from forge.base.trust import trust
from forge.build.build import build
from forge.graph.node import Call, Const, Edge, Expr, Map, Missing, Node, Seq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DELTA = "datetime.timedelta"


def items(nodes: dict[Any, Node]) -> tuple[Edge, ...]:
    return tuple(Edge(key, node) for key, node in nodes.items())


def mapping(**nodes: Node) -> Map:
    return Map((), items(nodes))


def call(target: str, *args: Node, **kwargs: Node) -> Call:
    return Call(("it",), target, items(dict(enumerate(args))), items(kwargs))


def const(value: object) -> Const:
    return Const((), value)


def test_plain_values_and_containers_are_built_as_they_are() -> None:
    root = mapping(
        a=const(1),
        b=Seq((), items({0: const("x"), "named": const(None)})),
        c=Expr((), "${a}px", "1px"),
        d=Map((), ()),
    )
    assert build(root) == {"a": 1, "b": ["x", None], "c": "1px", "d": {}}
    assert build(Map((), items({1: const(2), None: const(3)}))) == {1: 2, None: 3}


def test_a_target_is_called_with_its_arguments() -> None:
    assert build(call(DELTA, const(1), hours=const(2))) == dt.timedelta(1, hours=2)
    assert build(call("builtins.list", Seq((), items({0: call(DELTA, const(1))})))) == [dt.timedelta(1)]


def test_a_partial_and_a_symbol_are_not_called() -> None:
    partial = build(Call((), DELTA, (), items({"days": const(1)}), mode="partial"))
    assert isinstance(partial, functools.partial)
    assert (partial.func, partial.keywords) == (dt.timedelta, {"days": 1})
    assert build(Call((), DELTA, mode="symbol")) is dt.timedelta


def test_a_shared_node_is_one_object_and_an_alike_one_is_another() -> None:
    shared = call("collections.OrderedDict", a=const(1))
    built: Any = build(mapping(x=shared, y=mapping(z=shared), other=call("collections.OrderedDict", a=const(1))))
    assert built["x"] is built["y"]["z"]
    assert built["other"] == built["x"]
    assert built["other"] is not built["x"]


def test_a_memo_shares_objects_between_two_builds() -> None:
    shared = call("collections.OrderedDict")
    first, second = mapping(a=shared), mapping(b=shared)
    memo: dict[int, object] = {}
    one: Any = build(first, memo=memo)
    two: Any = build(second, memo=memo)
    assert one["a"] is two["b"]
    assert memo[id(shared)] is one["a"]


def test_a_secret_is_revealed_to_the_object_that_needs_it() -> None:
    assert build(mapping(key=const(Secret("hunter2")), text=Expr((), "", Secret("x")))) == {
        "key": "hunter2",
        "text": "x",
    }


def test_what_a_computed_text_has_read_is_not_built_for_it() -> None:
    read = Call(("read",), "math.sqrt", (Edge(0, const(-1)),))
    text = Expr(("text",), "${read}", "value", (Edge("read", read), Edge("gone", Missing(("gone",)))))
    assert build(mapping(text=text)) == {"text": "value"}
    with pytest.raises(ValueError, match="math domain error"):
        build(mapping(text=text, read=read))


def test_a_missing_value_is_named_before_anything_is_built() -> None:
    missing = Missing(("trainer", "lr"), origin=Origin("/x/a.yaml", 7))
    with pytest.raises(
        MissingValueError, match=r"^/x/a.yaml:7: trainer.lr: the value is missing \(\?\?\?\)\n  .*trainer.lr="
    ):
        build(mapping(bad=call("math.sqrt", const(-1)), lr=missing))


def test_all_names_are_checked_before_anything_is_imported() -> None:
    sys.modules.pop("colorsys", None)
    root = mapping(
        good=call("math.sqrt", const(-1)),
        bad=Call(("bad",), "colorsys.rgb_to_hls", target_origin=Origin("/x/a.yaml", 4)),
    )
    with pytest.raises(PolicyError, match=r"^/x/a.yaml:4: bad: target 'colorsys"):
        build(root)
    assert "colorsys" not in sys.modules


def test_arguments_are_checked_before_anything_is_imported() -> None:
    with pytest.raises(PolicyError, match="trust_remote_code=True is refused"):
        build(mapping(first=call("math.sqrt", const(-1)), second=call("builtins.dict", trust_remote_code=const(True))))


@pytest.mark.parametrize("target", ["builtins.dict", "collections.OrderedDict"])
def test_a_mapping_made_of_pairs_cannot_carry_a_refused_argument(target: str) -> None:
    pair = Seq((), items({0: const("trust_remote_code"), 1: const(True)}))
    with pytest.raises(PolicyError, match="trust_remote_code=True is refused"):
        build(call(target, Seq((), items({0: pair}))))


def test_an_exception_keeps_its_type_and_says_what_was_built() -> None:
    node = Call(("trainer", "root"), "math.sqrt", (Edge(0, const(-1)),), target_origin=Origin("/x/model/tiny.yaml", 1))
    with pytest.raises(ValueError, match="math domain error") as caught:
        build(mapping(trainer=mapping(root=node)))
    assert caught.value.__notes__ == ["while building trainer.root (math.sqrt) from /x/model/tiny.yaml:1"]


def test_a_wrong_argument_is_told_with_its_place() -> None:
    with pytest.raises(TypeError) as caught:
        build(Call((), DELTA, (), items({"dayz": const(1)})))
    assert caught.value.__notes__ == [f"while building {DELTA}"]


def test_calling_what_cannot_be_called_says_how_to_name_it() -> None:
    with pytest.raises(TargetError, match=r"math.pi cannot be called\n  write _symbol_"):
        build(call("math.pi"))


def test_a_graph_of_any_depth_is_built() -> None:
    node: Node = const(1)
    for _ in range(20_000):
        node = Seq((), (Edge(0, node),))
    built: Any = build(node)
    depth = 0
    while isinstance(built, list):
        built, depth = built[0], depth + 1
    assert (built, depth) == (1, 20_000)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "buildpkg.py").write_text("class Model:\n    def __init__(self, size):\n        self.size = size\n")
    yield folder
    sys.modules.pop("buildpkg", None)


def test_a_projects_own_class_is_built_once_it_is_trusted(source: Path) -> None:
    node = call("buildpkg.Model", size=const(3))
    with pytest.raises(PolicyError):
        build(node)
    with pytest.raises(TrustError):
        build(node, source_folders=[str(source)])
    trust(source)
    built: Any = build(node, source_folders=[str(source)])
    assert built.size == 3


def test_each_node_is_built_once_however_many_use_it() -> None:
    node: Node = call("builtins.list", const("ab"))
    for _ in range(40):  # 2 ** 40 paths lead to the first node
        node = Seq((), items({0: node, 1: node}))
    built: Any = build(node)
    assert built[0] is built[1]
