from __future__ import annotations

from typing import Any

import pytest

from forge.compose.composed import NOT_OBJECTS, Composed
from forge.compose.document import ConfigMap, parse_document
from forge.compose.merge import merge
from forge.compose.overrides import apply_override, parse_overrides
from forge.compose.project import Project, Root
from forge.compose.reference import NOT_FOUND

FIRST = "a: {b: 1, list: [10, {x: 11}]}\nto_a: ${a}\n3: three\ntrue: yes\nmeta: {name: n, main: model}\nargs: {f: {key: a.b, type: int}}\n"
SECOND = "a:\n  b: 2\n  c: 3\n"


@pytest.fixture
def composed() -> Composed:
    root = ConfigMap()
    for number, text in enumerate((FIRST, SECOND)):
        tree = parse_document(text.encode(), f"/{number}.yaml", "project").tree
        assert isinstance(tree, ConfigMap)
        merge(root, root, tree)
    for override in parse_overrides(["a.b=5", "a.list.0=12"]):
        apply_override(root, override, ())
    return Composed("x", Project("p", "", "/p", None, (Root("/p", "project"),), ()), root, (), {})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), None), (("a", "b"), 5), (("a", "list", 1, "x"), 11), (("a", "list", "1", "x"), 11), (("to_a",), "${a}"), (("to_a", "b"), 5),
        (("3",), "three"), ((3,), "three"), (("gone",), NOT_FOUND), (("a", "b", "c"), NOT_FOUND), (("a", "list", 9), NOT_FOUND), (("a", "list", -1), NOT_FOUND),
    ],
)  # fmt: skip
def test_a_value_is_found_as_it_is_written(composed: Composed, path: tuple[Any, ...], value: object) -> None:
    assert composed.value(path) == (composed.tree if path == () else value)


@pytest.mark.parametrize(
    ("path", "origins"),
    [
        (("a", "b"), ["/0.yaml:1", "/1.yaml:2", "override 'a.b=5'"]),
        (("a", "c"), ["/1.yaml:3"]),
        (("a",), ["/0.yaml:1", "/1.yaml:1"]),
        (("a", "list", 0), ["/0.yaml:1", "override 'a.list.0=12'"]),
        (("a", "list", "0"), ["/0.yaml:1", "override 'a.list.0=12'"]),
        (("a", "list", 1, "x"), ["/0.yaml:1"]),
        (("to_a", "b"), ["/0.yaml:1", "/1.yaml:2", "override 'a.b=5'"]),
        (("3",), ["/0.yaml:3"]),
        (("True",), ["/0.yaml:4"]),
        ((), []),
        (("gone",), []),
        (("a", "b", "c"), []),
        (("a", "list", 9), []),
        (("a", "list", -1), []),
        (("a", "list", "x"), []),
        (("a", "list", None), []),
    ],
)
def test_a_history_is_told_oldest_first(composed: Composed, path: tuple[Any, ...], origins: list[str]) -> None:
    assert [str(setting.origin) for setting in composed.history(path)] == origins


def test_the_newest_setting_holds_the_value(composed: Composed) -> None:
    setting = composed.setting(("a", "b"))
    assert setting is not None
    assert (setting.value, setting.previous and setting.previous.value) == (5, 2)


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (("a", "b"), "override 'a.b=5'"),
        (("a", "zzz"), "/1.yaml:1"),
        (("a", "list", 7, "y"), "/0.yaml:1"),
        (("zzz",), None),
        ((), None),
    ],
)
def test_an_origin_is_that_of_the_nearest_value_around(
    composed: Composed, path: tuple[Any, ...], origin: str | None
) -> None:
    found = composed.origin(path)
    assert (str(found) if found else None) == origin


def test_meta_main_and_arguments_describe_the_config(composed: Composed) -> None:
    assert composed.meta == {"name": "n", "main": "model"}
    assert composed.main == "model"
    assert [argument.flags for argument in composed.arguments] == [("--f",)]
    assert {"meta", "args", "hydra"} == NOT_OBJECTS


@pytest.mark.parametrize(
    "text", ["", "meta: null", "meta: 3", "meta: [a]", "meta: {}", "meta: {main: null}", "meta: {main: ''}"]
)
def test_without_a_word_the_trainer_is_the_main_object(composed: Composed, text: str) -> None:
    tree = parse_document(text.encode(), "f", "project").tree
    assert isinstance(tree, ConfigMap)
    assert Composed("x", composed.project, tree, (), {}).main == "trainer"
