from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hydra.utils import instantiate
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from forge.base.errors import ConfigSyntaxError, CycleError, ForgeError, GraphError, InterpolationError
from forge.base.paths import dotted
from forge.base.secrets import MASK, Secret
from forge.base.trust import trust
from forge.build.build import build
from forge.compose.composed import Composed
from forge.compose.document import ConfigMap, parse_document
from forge.compose.overrides import apply_override, parse_overrides
from forge.compose.project import Project, Root
from forge.graph.lower import lower
from forge.graph.node import Call, Const, Expr, Graph, Map, Missing, Node, Seq
from forge.graph.walk import edges, find, users, walk

if TYPE_CHECKING:
    from pathlib import Path

FULL = bool(os.environ.get("FORGE_FULL"))

FILE = "/configs/x.yaml"


def composed(text: str) -> Composed:
    tree = parse_document(text.encode(), FILE, "project").tree
    assert isinstance(tree, ConfigMap)
    project = Project("p", "", "/p", None, (Root("/p/configs", "project"),), ())
    return Composed("x", project, tree, (), {})


def graph(text: str, target: str | None = None, problems: list[ForgeError] | None = None) -> Graph:
    return lower(composed(text), target, problems=problems)


def node(text: str, path: str, target: str | None = None) -> Any:
    found = find(graph(text, target).root, tuple(path.split(".")) if path else ())
    assert found is not None
    return found


def mistakes(text: str, target: str | None = None) -> list[str]:
    problems: list[ForgeError] = []
    lower(composed(text), target, problems=problems)
    return [str(problem) for problem in problems]


# ---- values


def test_the_whole_config_is_a_mapping_of_its_top_level_keys_in_order() -> None:
    root = graph("b: 1\nmeta: {name: x}\na: {c: [2, null, {d: e}]}\nargs: {}\nhydra: {x: 1}\n").root
    assert isinstance(root, Map)
    assert [edge.key for edge in root.items] == ["b", "a"]
    assert root.path == ()
    values = {each.name: each.value for each in walk(root) if isinstance(each, Const)}
    assert values == {"b": 1, "a.c[0]": 2, "a.c[1]": None, "a.c[2].d": "e"}


def test_each_node_and_edge_knows_its_line() -> None:
    root = graph("a:\n  b: 1\n  c:\n  - 2\n  - {_target_: x.Y, z: 3}\n  d: ${a.b}\n").root
    lines = {each.name: each.origin.line for each in walk(root) if each.origin is not None}
    assert lines == {"a": 1, "a.b": 2, "a.c": 3, "a.c[0]": 4, "a.c[1]": 5, "a.c[1].z": 5}
    inner = find(root, ("a",))
    assert inner is not None
    assert [(edge.key, edge.origin.line, edge.ref) for edge in edges(inner) if edge.origin] == [
        ("b", 2, False),
        ("c", 3, False),
        ("d", 6, True),
    ]
    call = find(root, ("a", "c", 1))
    assert isinstance(call, Call)
    assert call.target_origin is not None
    assert call.target_origin.line == 5


def test_a_call_has_its_target_arguments_and_mode() -> None:
    call = node("a: {_target_: x.Y, _args_: [1, {_target_: x.Z}], b: 2, _convert_: all}", "a")
    assert (call.target, call.mode) == ("x.Y", "call")
    assert [edge.key for edge in call.args] == [0, 1]
    assert isinstance(call.args[1].node, Call)
    assert call.args[1].node.name == "a._args_[1]"
    assert [edge.key for edge in call.kwargs] == ["b"]


@pytest.mark.parametrize(
    ("text", "mode"), [("true", "partial"), ("false", "call"), ("'${on_}'", "partial"), ("'${off_}'", "call")]
)
def test_partial_is_a_mode_also_through_a_reference(text: str, mode: str) -> None:
    assert node(f"on_: true\noff_: false\na: {{_target_: x.Y, _partial_: {text}}}", "a").mode == mode


def test_a_symbol_is_the_object_itself() -> None:
    call = node("a: {_symbol_: torch.bfloat16}", "a")
    assert (call.target, call.mode, call.args, call.kwargs) == ("torch.bfloat16", "symbol", (), ())


def test_a_target_may_be_an_interpolation() -> None:
    assert node("kind: Y\na: {_target_: 'x.${kind}'}", "a").target == "x.Y"
    assert node("a: {_target_: '${.kind}', kind: x.Y}", "a").target == "x.Y"


def test_not_recursive_leaves_what_is_below_as_plain_data() -> None:
    call = node(
        "a: {_target_: x.Y, _recursive_: false, b: {_target_: x.Z, c: [{_target_: x.W}], _partial_: true}, d: '${e}'}\ne: 5",
        "a",
    )
    assert isinstance(call, Call)
    inner = call.kwargs[0].node
    assert isinstance(inner, Map)
    assert [edge.key for edge in inner.items] == ["_target_", "c", "_partial_"]
    deepest = find(inner, ("c", 0))
    assert isinstance(deepest, Map)
    assert call.kwargs[1].node.value == 5


@pytest.mark.parametrize("order", [0, 1])
def test_an_object_used_as_plain_data_is_still_an_object_elsewhere_whatever_comes_first(order: int) -> None:
    parts = ["a: {_target_: x.Y, _recursive_: false, b: '${o}'}", "o: {_target_: x.Z, c: 1}"]
    root = graph("\n".join(parts if order else parts[::-1])).root
    plain = find(root, ("a", "b"))
    assert isinstance(plain, Map)
    assert [edge.key for edge in plain.items] == ["_target_", "c"]
    assert isinstance(find(root, ("o",)), Call)


def test_recursive_takes_an_interpolation() -> None:
    assert isinstance(node("off_: false\na: {_target_: x.Y, _recursive_: '${off_}', b: {_target_: x.Z}}", "a.b"), Map)


@pytest.mark.parametrize("value", ["none", "partial", "object", "all"])
def test_every_conversion_of_hydra_is_accepted(value: str) -> None:
    assert isinstance(node(f"a: {{_target_: x.Y, _convert_: {value}}}", "a"), Call)


def test_missing_values_are_nodes() -> None:
    root = graph("a: ???\nb: {_target_: x.Y, c: '???', d: '${a}'}\ne: ['???']").root
    assert isinstance(find(root, ("a",)), Missing)
    assert isinstance(find(root, ("b", "c")), Missing)
    assert find(root, ("b", "d")) is find(root, ("a",))
    assert isinstance(find(root, ("e", 0)), Missing)


# ---- sharing


def test_a_reference_is_the_very_node() -> None:
    root = graph("a: {_target_: x.Y}\nb: ${a}\nc: [${a}, {d: '${b}'}]\n".replace("[${a}", "['${a}'")).root
    shared = find(root, ("a",))
    for path in (("b",), ("c", 0), ("c", 1, "d")):
        assert find(root, path) is shared
    assert shared is not None
    assert shared.path == ("a",)
    assert len(users(root)[id(shared)]) == 4


def test_two_that_look_alike_are_two() -> None:
    root = graph("a: {_target_: x.Y}\nb: {_target_: x.Y}\nc: &c {_target_: x.Y}\nd: *c\n").root
    assert len({id(find(root, (key,))) for key in "abcd"}) == 4


def test_a_reference_to_a_part_of_an_object_is_that_part() -> None:
    root = graph(
        "a: {_target_: x.Y, b: {c: {_target_: x.Z}}}\nd: ${a.b.c}\ne: ${a.b}\nf: {_target_: x.W, _args_: ['${a}']}\ng: ${f._args_[0].b.c}"
    ).root
    assert find(root, ("d",)) is find(root, ("a", "b", "c"))
    assert find(root, ("e", "c")) is find(root, ("d",))
    assert find(root, ("g",)) is find(root, ("d",))


def test_relative_references_and_list_indices_reach_the_same_nodes() -> None:
    root = graph(
        "a: {o: {_target_: x.Y}, p: '${.o}', q: {r: '${..o}'}, s: ['${..o}', '${.0}', '${..s[1]}']}\nt: ${a.s[2]}\nu: ${a.s.0}"
    ).root
    shared = find(root, ("a", "o"))
    for path in (("a", "p"), ("a", "q", "r"), ("a", "s", 0), ("a", "s", 1), ("a", "s", 2), ("t",), ("u",)):
        assert find(root, path) is shared, path


def test_a_chain_of_references_ends_in_one_node() -> None:
    root = graph("a: ${b}\nb: ${c}\nc: ${d.e}\nd: ${f}\nf: {e: {_target_: x.Y}}").root
    ends = {id(find(root, (key,))) for key in "abc"}
    assert ends == {id(find(root, ("f", "e")))}
    assert isinstance(find(root, ("a",)), Call)
    first = edges(root)[0]
    assert (first.key, first.ref, first.node.path) == ("a", True, ("f", "e"))


@pytest.mark.parametrize("target", [None, "k9999", "k5000"])
def test_a_chain_of_ten_thousand_references_is_followed(target: str | None) -> None:
    text = "k0: {_target_: x.Y}\n" + "".join(f"k{index}: ${{k{index - 1}}}\n" for index in range(1, 10_000))
    root = graph(text, target).root
    assert len({id(each) for each in walk(root) if isinstance(each, Call)}) == 1


@pytest.mark.parametrize("target", [None, "k9999"])
def test_ten_thousand_objects_that_each_need_the_one_before_are_lowered(target: str | None) -> None:
    text = "k0: {_target_: x.Y}\n" + "".join(
        f"k{index}: {{_target_: x.Y, before: '${{k{index - 1}}}'}}\n" for index in range(1, 10_000)
    )
    assert sum(isinstance(each, Call) for each in walk(graph(text, target).root)) == 10_000


def test_one_target_is_the_same_node_under_every_name_of_it() -> None:
    text = "a: ${b}\nb: ${c.0}\nc: [{_target_: x.Y, n: '${d}'}]\nd: 1"
    for name in ("a", "b", "c[0]", "c.0"):
        found = graph(text, name)
        assert found.root.path == ("c", 0)
        assert found.name == f"x:{name}"


# ---- _new_


def test_each_reference_to_a_new_is_a_copy_and_what_is_shared_below_stays_shared() -> None:
    root = graph(
        "proto: {_target_: x.Y, _new_: true, own: {_target_: x.Own}, shared: '${common}', near: '${.own}'}\n"
        "common: {_target_: x.Z}\na: ${proto}\nb: {c: '${proto}', d: ['${proto}']}\n"
    ).root
    copies = [find(root, path) for path in (("proto",), ("a",), ("b", "c"), ("b", "d", 0))]
    assert all(isinstance(copy, Call) and copy.target == "x.Y" for copy in copies)
    assert len({id(copy) for copy in copies}) == 4
    assert [copy.path for copy in copies if copy] == [("proto",), ("a",), ("b", "c"), ("b", "d", 0)]
    for copy in copies:
        assert copy is not None
        assert find(copy, ("shared",)) is find(root, ("common",))
    assert len({id(find(copy, ("own",))) for copy in copies if copy}) == 4
    assert "_new_" not in {edge.key for copy in copies if copy for edge in edges(copy)}


def test_a_reference_to_a_reference_to_a_new_shares_that_copy() -> None:
    root = graph(
        "proto: {_target_: x.Y, _new_: true}\nmodel: ${proto}\nuser: {_target_: x.U, model: '${model}'}\nother: ['${user.model}']\nlast: ${proto}"
    ).root
    model = find(root, ("model",))
    assert find(root, ("user", "model")) is model
    assert find(root, ("other", 0)) is model
    assert find(root, ("last",)) is not model
    assert find(root, ("proto",)) is not model


def test_the_order_of_users_of_a_copy_makes_no_difference() -> None:
    root = graph("user: {_target_: x.U, model: '${model}'}\nmodel: ${proto}\nproto: {_target_: x.Y, _new_: true}").root
    assert find(root, ("user", "model")) is find(root, ("model",))
    assert find(root, ("model",)) is not find(root, ("proto",))


def test_a_new_inside_a_new_is_copied_for_each() -> None:
    root = graph(
        "in: {_target_: x.I, _new_: true}\nout: {_target_: x.O, _new_: true, one: '${in}', two: '${in}'}\na: ${out}\nb: ${out}"
    ).root
    inner = [find(root, (key, part)) for key in ("out", "a", "b") for part in ("one", "two")]
    assert len({id(each) for each in inner}) == 6


def test_new_may_be_false_or_an_interpolation() -> None:
    text = "flag: {flag}\nproto: {{_target_: x.Y, _new_: '${{flag}}'}}\na: ${{proto}}"
    for flag in ("true", "false"):
        root = graph(text.format(flag=flag)).root
        assert (find(root, ("a",)) is find(root, ("proto",))) == (flag == "false")


def test_a_new_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(CycleError, match="objects need each other"):
        graph("proto: {_target_: x.Y, _new_: true, me: '${proto}'}\na: ${proto}")
    with pytest.raises(CycleError, match="objects need each other"):
        graph("a: ${p}\np: {_target_: x.Y, _new_: true, q: '${q}'}\nq: {_target_: x.Z, _new_: true, p: '${p}'}")


# ---- _list_


def test_a_named_list_is_a_list_whose_items_have_names() -> None:
    found = node("a: {_list_: true, one: {_target_: x.Y}, two: 2, three: null}", "a")
    assert isinstance(found, Seq)
    assert [edge.key for edge in found.items] == ["one", "two"]
    assert find(found, ("one",)) is found.items[0].node


def test_the_items_of_a_named_list_can_be_overridden_added_and_dropped() -> None:
    found = composed("a: {_list_: true, one: 1, two: 2}\nb: ${a.two}\nc: ${a}")
    for override in parse_overrides(["a.one=null", "+a.three=3", "a.two=5"]):
        apply_override(found.tree, override, ())
    root = lower(found).root
    items = find(root, ("a",))
    assert isinstance(items, Seq)
    assert [(edge.key, edge.node.value) for edge in items.items if isinstance(edge.node, Const)] == [
        ("two", 5),
        ("three", 3),
    ]
    assert find(root, ("b",)) is items.items[0].node
    assert find(root, ("c",)) is items


def test_a_named_list_may_be_positional_arguments_only_as_a_value() -> None:
    assert mistakes("a: {_target_: x.Y, _args_: {_list_: true, one: 1}}") == [
        f"{FILE}:1: a: _args_ must be a list of positional arguments"
    ]


def test_a_list_mark_that_is_false_or_computed_is_honoured() -> None:
    assert isinstance(node("a: {_list_: false, one: 1}", "a"), Map)
    assert isinstance(node("on_: true\na: {_list_: '${on_}', one: 1}", "a"), Seq)


def test_an_empty_named_list_is_an_empty_list() -> None:
    assert node("a: {_list_: true}", "a").items == ()
    assert node("a: {_list_: true, one: null}", "a").items == ()


# ---- expressions


def test_a_computed_value_knows_its_text_and_what_it_read() -> None:
    root = graph("a: 1\nb: {c: x}\nd: v${a}-${b.c}\ne: ${oc.select:a}\nf: ${oc.dict.keys:b}").root
    found = find(root, ("d",))
    assert isinstance(found, Expr)
    assert (found.text, found.value) == ("v${a}-${b.c}", "v1-x")
    assert [(edge.key, edge.node, edge.ref) for edge in found.deps] == [
        ("a", find(root, ("a",)), True),
        ("b.c", find(root, ("b", "c")), True),
    ]
    selected = find(root, ("e",))
    assert isinstance(selected, Expr)
    assert selected.value == 1
    assert [edge.key for edge in selected.deps] == ["a"]
    keys = find(root, ("f",))
    assert isinstance(keys, Expr)
    assert keys.value == ["c"]


def test_a_computed_value_that_reads_through_references_depends_on_what_it_found() -> None:
    root = graph("a: ${b}\nb: 1\nc: v${a}").root
    found = find(root, ("c",))
    assert isinstance(found, Expr)
    assert [edge.node for edge in found.deps] == [find(root, ("b",))]


def test_the_keys_of_a_mapping_of_objects_may_be_read() -> None:
    found = node("o: {x: {_target_: x.Y}, y: {_target_: x.Z}}\nnames: ${oc.dict.keys:o}", "names")
    assert found.value == ["x", "y"]


# ---- secrets


@pytest.mark.parametrize(
    "text",
    [
        "a: {api_key: hunter2}",
        "a: {_target_: x.Y, hf_token: hunter2}",
        "password: [hunter2]",
        "credentials: {user: hunter2, deep: [{x: hunter2}]}",
        "a: {api_key: 'x${b}hunter2'}\nb: 1",
        "a: {api_key: hunter2}\nb: http://${a.api_key}@host",
        "a: {api_key: hunter2}\nb: ${oc.select:a.api_key}",
        "a: {api_key: hunter2}\nb: v${c}\nc: w${a.api_key}",
        "credentials: {x: hunter2}\nb: ${oc.dict.values:credentials}",
        "a: {secret: hunter2, b: '${.secret}'}",
        "a: {api_key: hunter2}\nb: ${oc.decode:${a.api_key}}",
    ],
)
def test_a_secret_shows_in_no_node(text: str) -> None:
    root = graph(text).root
    found = 0
    for each in walk(root):
        assert "hunter2" not in repr(each).replace(MASK, "")
        found += isinstance(each, (Const, Expr)) and isinstance(each.value, Secret)
    assert found


def test_a_secret_is_revealed_to_the_builder_and_null_is_none() -> None:
    assert node("a: {api_key: hunter2}", "a.api_key").value.reveal() == "hunter2"
    assert node("a: {api_key: null}", "a.api_key").value is None
    assert node("a: {pad_token: x, max_tokens: 3}", "a.pad_token").value == "x"


# ---- mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {_taget_: x.Y}", "a: there is no special key '_taget_'\n  did you mean '_target_'?"),
        ("a: {_target_: x.Y, _parital_: true}", "there is no special key '_parital_'\n  did you mean '_partial_'?"),
        ("a: {_target_: x.Y, _convert_: al}", "_convert_ must be one of none, partial, object, all, not 'al'"),
        ("a: {_target_: x.Y, _partial_: 'yes'}", "_partial_ must be true or false, not 'yes'"),
        ("a: {_target_: x.Y, _recursive_: 0}", "_recursive_ must be true or false, not 0"),
        ("a: {_list_: 1, x: 2}", "_list_ must be true or false, not 1"),
        ("a: {_target_: x.Y, _new_: maybe}", "_new_ must be true or false, not 'maybe'"),
        ("a: {_target_: x.Y, _args_: 3}", "_args_ must be a list of positional arguments"),
        ("a: {_target_: x.Y, _symbol_: x.Z}", "_target_ and _symbol_ exclude each other"),
        ("a: {_partial_: true, x: 1}", "_partial_ without _target_ has no meaning"),
        ("a: {_args_: [1], x: 1}", "_args_ without _target_ has no meaning"),
        ("a: {_target_: 3}", "_target_ names a Python object, this is 3"),
        ("a: {_target_: ''}", "_target_ names a Python object, this is ''"),
        ("a: {_target_: null}", "_target_ names a Python object, this is None"),
        ("a: {_target_: [x.Y]}", "_target_ names a Python object, this is ['x.Y']"),
        ("a: {_target_: '???'}", "_target_ names a Python object, this is still ???"),
        ("a: {_symbol_: 3}", "_symbol_ names a Python object, this is 3"),
    ],
)
def test_a_wrong_special_key_is_a_mistake_with_its_line(text: str, message: str) -> None:
    with pytest.raises((ConfigSyntaxError, GraphError)) as caught:
        graph("first: 1\n" + text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{FILE}:2")
    assert any(message in one for one in mistakes("first: 1\n" + text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: 1\na: ${modle}", "a: ${modle}: there is no 'modle'\n  did you mean 'model'?"),
        ("model: {size: 1}\na: ${model.sise}", "'model' has no key 'sise'\n  did you mean 'size'?"),
        ("model: [1]\na: ${model[3]}", "'model' has 1 items and no '3'"),
        ("model: 1\na: ${model.x}", "'model' is 1 and has no keys"),
        ("model: 1\na: ${...x}", "leads out of the config"),
        ("model: 1\na: x${modle}", "there is no 'modle'\n  did you mean 'model'?"),
        ("model: 1\na: ${nosuch:1}", "there is no resolver 'nosuch'"),
        ("model: 1\na: ${", "does not parse"),
        ("model: {_target_: x.Y}\na: x${model}", "'model' is an object, which cannot be part of a text"),
        ("model: ???\na: x${model}", "'model' is still ???"),
        ("model: 1\na: {_target_: 'x.${gone}'}", "there is no 'gone'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_mistake_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        graph(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{FILE}:2"), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


CYCLES = [
    ("a: ${a}", ["a", "a"]),
    ("a: ${b}\nb: ${a}", ["a", "b"]),
    ("a: {_target_: x.Y, me: '${a}'}", ["a", "a"]),
    ("a: {_target_: x.Y, b: '${b}'}\nb: {_target_: x.Z, a: '${a}'}", ["a", "b", "a"]),
    ("a: {x: ['${b}']}\nb: {y: [{z: '${a.x}'}]}", ["a.x", "b"]),
    ("a: ['${b}']\nb: ['${c}']\nc: ['${a}']", ["a", "b", "c", "a"]),
    ("a: {_list_: true, x: '${b}'}\nb: {_list_: true, y: '${a}'}", ["a", "b", "a"]),
    ("a: {_target_: x.Y, _args_: ['${a}']}", ["a", "a"]),
    ("a: {b: {c: {d: '${a}'}}}", ["a", "a"]),
    ("a: x${b}\nb: y${c}\nc: z${a}", ["b", "c", "a", "b"]),
    ("a: {x: 'v${b.x}'}\nb: {x: 'w${a.x}'}", ["b.x", "a.x"]),
    ("a: ${oc.select:b}\nb: ${oc.select:a}", ["b", "a"]),
    ("a: {_target_: x.Y, _recursive_: false, me: '${a}'}", ["a", "a"]),
]


@pytest.mark.parametrize(("text", "steps"), CYCLES)
def test_a_circle_names_each_step_with_its_line(text: str, steps: list[str]) -> None:
    with pytest.raises((CycleError, InterpolationError)) as caught:
        graph(text)
    message = str(caught.value)
    assert "need each other" in message
    lines = {dotted((key,)): number for number, key in enumerate("abc", 1)}
    for step in steps:
        line = lines[step[0]] if "\n" in text else 1
        assert f"{step} ({FILE}:{line})" in message, message
    assert mistakes(text)


def test_a_long_circle_is_found() -> None:
    text = "".join(f"k{index}: {{_target_: x.Y, n: '${{k{(index + 1) % 500}}}'}}\n" for index in range(500))
    with pytest.raises(CycleError):
        graph(text)
    text = "".join(f"k{index}: ${{k{(index + 1) % 5000}}}\n" for index in range(5000))
    with pytest.raises(InterpolationError):
        graph(text)


def test_a_diamond_is_no_circle() -> None:
    root = graph(
        "a: {_target_: x.Y, l: '${b}', r: '${c}'}\nb: {_target_: x.Y, n: '${d}'}\nc: {_target_: x.Y, n: '${d}'}\nd: {_target_: x.Y}"
    ).root
    assert find(root, ("a", "l", "n")) is find(root, ("a", "r", "n"))


def test_several_mistakes_are_collected_at_once_and_what_they_concern_is_missing() -> None:
    problems: list[ForgeError] = []
    text = "a: ${gone}\nb: {_target_: 3}\nc: {_target_: x.Y, _convert_: no_such, d: 'x${gone}'}\ne: {_target_: x.Y, me: '${e}'}\nf: 1"
    root = graph(text, problems=problems).root
    assert [problem.origin.line for problem in problems if problem.origin] == [1, 2, 3, 3, 4]
    assert isinstance(find(root, ("a",)), Missing)
    assert isinstance(find(root, ("b",)), Missing)
    assert isinstance(find(root, ("c",)), Call)
    assert isinstance(find(root, ("c", "d")), Missing)
    assert isinstance(find(root, ("e", "me")), Missing)
    assert isinstance(find(root, ("f",)), Const)


def test_only_what_the_target_needs_is_looked_at() -> None:
    text = "good: {_target_: x.Y, n: '${other}'}\nother: {_target_: x.Z}\nbad: ${gone}\nworse: {_target_: 3}\ncircle: {me: '${circle}'}"
    assert mistakes(text, "good") == []
    assert isinstance(graph(text, "good").root, Call)
    assert {each.name for each in walk(graph(text, "good").root)} == {"good", "other"}
    with pytest.raises(ForgeError):
        graph(text)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gone", "there is no 'gone'"),
        ("modle", "there is no 'modle'\n  did you mean 'model'?"),
        ("model.sise", "'model' has no key 'sise'"),
        ("model.items[4]", "'model.items' has 1 items and no '4'"),
        ("a..b", "'a..b' is not a dotted path"),
        ("[", "'[' is not a dotted path"),
        ("dangling", "there is no 'nowhere'"),
        ("circle", "need each other"),
    ],
)
def test_a_target_that_is_not_there_is_a_mistake(target: str, message: str) -> None:
    text = "model: {size: 1, items: [1]}\ndangling: ${nowhere}\ncircle: ${circle}"
    with pytest.raises((GraphError, InterpolationError)) as caught:
        graph(text, target)
    assert message in str(caught.value)


# ---- against Hydra


PARTS = """
class Part:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

class Other(Part):
    pass

def make(*args, **kwargs):
    return Part("made", *args, **kwargs)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("source")
    (folder / "recorded_parts.py").write_text(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGE_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.syspath_prepend(str(folder))
        trust(folder)
        yield folder
    sys.modules.pop("recorded_parts", None)


def plain(value: Any) -> Any:
    """What was built, as nested tuples that say nothing of sharing."""
    if isinstance(value, functools.partial):
        return ("partial", value.func.__name__, plain(value.args), plain(value.keywords))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if type(value).__name__ in ("Part", "Other"):
        return (type(value).__name__, plain(value.args), plain(value.kwargs))
    return (type(value).__name__, value)


KEYS = ("a", "b", "c")
scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["t", "x y", ""]))
references = st.one_of(
    st.lists(st.sampled_from([*KEYS, "0"]), min_size=1, max_size=3).map(lambda names: "${" + ".".join(names) + "}"),
    st.sampled_from(["${.a}", "${..b}", "v${c}", "${a}-${b}", "${oc.dict.keys:a}", "${oc.select:b,4}"]),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    content = st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    specials = st.fixed_dictionaries(
        {"_target_": st.sampled_from(["recorded_parts.Part", "recorded_parts.Other", "recorded_parts.make"])},
        optional={
            "_args_": st.lists(inner, max_size=2),
            "_partial_": st.booleans(),
            "_recursive_": st.sampled_from([True, True, False]),
            "_convert_": st.just("all"),
        },
    )
    return st.one_of(
        st.lists(inner, max_size=3),
        content,
        st.builds(lambda one, two: {**one, **two}, specials, content),
        st.builds(lambda one, two: {**one, **two}, specials, content),
    )


@settings(max_examples=400 if FULL else 100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.dictionaries(
        st.sampled_from(KEYS),
        st.recursive(st.one_of(scalars, scalars, references), containers, max_leaves=8),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_built_is_what_hydra_instantiates_but_for_sharing(parts: Path, data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, sort_keys=False)
    try:
        wanted = instantiate(OmegaConf.create(data), _convert_="all")
    except Exception as error:  # noqa: BLE001 - Hydra raises many kinds
        event("refused by Hydra")
        with pytest.raises(ForgeError):
            pytest.fail(f"{text} gives {plain(built(text, parts))}, but Hydra: {type(error)} {error}")
        return
    event("instantiated")
    try:
        found = built(text, parts)
    except InterpolationError as error:
        # Hydra puts the repr of a list, a mapping or an object's description into a text; here that is a mistake.
        assume("cannot be part of a text" not in error.what and "is an object" not in error.what)
        raise
    except (CycleError, ConfigSyntaxError):
        assume(False)
    assert plain(found) == plain(wanted), text


def built(text: str, parts: Path) -> Any:
    return build(graph(text).root, source_folders=[str(parts)])


def test_what_is_shared_is_built_once(parts: Path) -> None:
    found = built(
        "a: {_target_: recorded_parts.Part}\nb: {_target_: recorded_parts.Part, x: '${a}'}\nc: ['${a}', '${b.x}']",
        parts,
    )
    assert found["b"].kwargs["x"] is found["a"]
    assert found["c"] == [found["a"], found["a"]]


def test_what_is_new_is_built_for_each(parts: Path) -> None:
    found = built(
        "a: {_target_: recorded_parts.Part, _new_: true, s: '${s}'}\nb: ${a}\nc: ${a}\nd: ${b}\ns: {_target_: recorded_parts.Part}",
        parts,
    )
    assert len({id(found[key]) for key in "abc"}) == 3
    assert found["d"] is found["b"]
    assert found["b"].kwargs["s"] is found["c"].kwargs["s"] is found["s"]


def test_lowering_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explosive_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found: Node = graph("a: {_target_: explosive_module.X, b: {_symbol_: explosive_module.Y}}").root
    assert isinstance(find(found, ("a",)), Call)
    assert "explosive_module" not in sys.modules
