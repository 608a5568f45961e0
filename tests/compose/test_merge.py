from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from forge.base.errors import OverrideError
from forge.base.origin import Origin
from forge.compose.document import ConfigList, ConfigMap, Setting, parse_document
from forge.compose.merge import copied, embed, merge, put

FULL = bool(os.environ.get("FORGE_FULL"))

KEYS = ("a", "b", "c", "d")
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["t", "???", "", "x y", "1.5"]), st.floats(-1, 1)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
    max_leaves=8,
)
layers = st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=4), min_size=1, max_size=5)


def document(data: dict[str, Any], number: int) -> ConfigMap:
    text = yaml.safe_dump(data, sort_keys=False) if data else ""
    tree = parse_document(text.encode(), f"/layer{number}.yaml", "project").tree
    assert isinstance(tree, ConfigMap)
    return tree


def omegaconfs(data: list[dict[str, Any]]) -> dict[Any, Any] | None:
    """OmegaConf's answer, None when it lays no list over a mapping and no mapping over a list."""
    try:
        found = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create({}), *map(OmegaConf.create, data)))
    except (ValueError, TypeError, OmegaConfBaseException):
        return None
    assert isinstance(found, dict)
    return found


def merged(data: list[dict[str, Any]]) -> tuple[ConfigMap, list[ConfigMap]]:
    root = ConfigMap()
    documents = [document(one, number) for number, one in enumerate(data)]
    for one in documents:
        merge(root, root, one)
    return root, documents


def history(setting: Setting | None) -> list[Setting]:
    found: list[Setting] = []
    while setting is not None:
        found.append(setting)
        setting = setting.previous
    return found[::-1]


def check_settings(value: Any) -> None:
    """Each container has a setting for each of its values, and the newest holds the very value."""
    if isinstance(value, ConfigMap):
        assert value.keys() == value.settings.keys()
        for key, item in value.items():
            assert value.settings[key].value is item or value.settings[key].value == item
            check_settings(item)
    if isinstance(value, ConfigList):
        assert len(value) == len(value.settings)
        for item in value:
            check_settings(item)
    assert isinstance(value, (ConfigMap, ConfigList)) or not isinstance(value, (dict, list))


@settings(max_examples=400 if FULL else 120, deadline=None)
@given(layers)
def test_merging_is_omegaconfs(data: list[dict[str, Any]]) -> None:
    wanted = omegaconfs(data)
    if wanted is None:
        with pytest.raises(OverrideError, match=r"/layer\d\.yaml:\d+: .* but /layer\d\.yaml:\d+ made it a"):
            merged(data)
        return
    found, _ = merged(data)
    assert found == wanted
    assert repr(found) == repr(wanted)  # order and types too
    check_settings(found)


Model = dict[str, tuple[list[int], Any]]


def lay(model: Model, layer: dict[str, Any], number: int) -> None:
    """The rules once more, on (the layers that set a key, the model of what is below it or None)."""
    for key, value in layer.items():
        if key in model and value == "???":
            continue
        past, below = model.get(key, ([], None))
        if isinstance(value, dict):
            below = {} if below is None else below
            lay(below, value, number)
        else:
            below = None
        model[key] = ([*past, number], below)


@settings(max_examples=300 if FULL else 90, deadline=None)
@given(layers)
def test_a_history_is_the_layers_that_set_the_value_in_order(data: list[dict[str, Any]]) -> None:
    assume(omegaconfs(data) is not None)
    found, _ = merged(data)
    model: Model = {}
    for number, layer in enumerate(data):
        lay(model, layer, number)

    def compare(value: ConfigMap, part: Model) -> None:
        assert list(value) == list(part)
        for key, item in value.items():
            past = history(value.settings[key])
            assert [one.origin.file for one in past] == [f"/layer{number}.yaml" for number in part[key][0]], key
            if isinstance(item, ConfigMap):
                compare(item, part[key][1])

    compare(found, model)


@settings(max_examples=200 if FULL else 60, deadline=None)
@given(layers)
def test_merging_changes_no_layer(data: list[dict[str, Any]]) -> None:
    assume(omegaconfs(data) is not None)
    documents = [document(one, number) for number, one in enumerate(data)]
    before = copy.deepcopy(documents)
    root = ConfigMap()
    for one in documents:
        merge(root, root, one)
    shaken(root)
    assert documents == before
    assert [one.settings for one in documents] == [one.settings for one in before]


def shaken(value: Any) -> None:
    """Change every container in place, as overrides do."""
    for item in value.values() if isinstance(value, ConfigMap) else value if isinstance(value, ConfigList) else ():
        shaken(item)
    if isinstance(value, ConfigMap):
        put(value, "shaken", 1, Setting(Origin("shaken"), 1))
    elif isinstance(value, ConfigList):
        value.append("shaken")
        value.settings.append(Setting(Origin("shaken"), 1))


def test_aliased_values_are_changed_apart() -> None:
    root = ConfigMap()
    tree = parse_document(b"a: &a {x: {y: 1}}\nb: *a\n", "f", "project").tree
    assert isinstance(tree, ConfigMap)
    merge(root, root, tree)
    over = parse_document(b"b: {x: {y: 2}}\n", "g", "project").tree
    assert isinstance(over, ConfigMap)
    merge(root, root, over)
    assert root == {"a": {"x": {"y": 1}}, "b": {"x": {"y": 2}}}


def test_a_layer_laid_over_a_reference_lays_itself_over_a_copy() -> None:
    root, _ = merged([{"a": {"x": 1}, "b": "${a}"}, {"b": {"y": 2}}])
    assert root == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
    assert history(root.settings["b"])[0].value == "${a}"


def test_a_history_keeps_the_values_that_were_replaced() -> None:
    root, _ = merged([{"a": 1}, {"a": {"b": 2}}, {"a": 5}, {"a": [3]}, {"a": "???"}, {"a": None}])
    assert [one.value for one in history(root.settings["a"])] == [1, {"b": 2}, 5, [3], None]


def test_a_replaced_container_starts_the_history_of_its_values_anew() -> None:
    root, _ = merged([{"a": {"b": 1}}, {"a": 5}, {"a": {"b": 2}}])
    assert [one.value for one in history(root["a"].settings["b"])] == [2]
    assert [one.origin.file for one in history(root.settings["a"])] == ["/layer0.yaml", "/layer1.yaml", "/layer2.yaml"]


def test_embed_puts_a_tree_below_its_package() -> None:
    tree = document({"x": 1}, 0)
    setting = Setting(Origin("f", 1), tree)
    found = embed(tree, "a.b", setting)
    assert found == {"a": {"b": {"x": 1}}}
    assert isinstance(found, ConfigMap)
    assert found.settings["a"].origin == Origin("f", 1)
    check_settings(found["a"]["b"])


def test_copied_copies_containers_and_shares_settings() -> None:
    tree = document({"a": {"b": [1, {"c": 2}]}}, 0)
    copy = copied(tree)
    assert copy == tree
    assert copy["a"]["b"] is not tree["a"]["b"]
    assert copy["a"].settings["b"] is tree["a"].settings["b"]
    shaken(copy)
    assert tree == {"a": {"b": [1, {"c": 2}]}}
