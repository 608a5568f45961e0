from __future__ import annotations

import math
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.base.errors import ConfigLimitError, ConfigSyntaxError, ForgeError, InterpolationError, OverrideError
from forge.compose.document import ConfigList, ConfigMap, Setting, parse_document
from forge.compose.overrides import apply_override, parse_overrides

TEXT = """\
model: {size: 3, layers: [10, {w: 1}], name: small}
trainer: {max_steps: 5, lr: 0.1, open: '???', empty: null}
same: ${model}
chain: ${same}
named: {_list_: true, one: 1}
text: v${model.size}
"""
GROUPS = ("model", "optimizer", "schedule")


def config(text: str = TEXT) -> ConfigMap:
    tree = parse_document(text.encode(), "/c.yaml", "project").tree
    assert isinstance(tree, ConfigMap)
    return tree


def applied(*overrides: str | tuple[str, str], text: str = TEXT) -> ConfigMap:
    root = config(text)
    for override in parse_overrides(overrides):
        apply_override(root, override, GROUPS)
    return root


def history(setting: Setting | None) -> list[Setting]:
    found: list[Setting] = []
    while setting is not None:
        found.append(setting)
        setting = setting.previous
    return found[::-1]


def check_shape(value: Any) -> None:
    """Containers are of the kinds that remember, and every value in them has a setting."""
    if isinstance(value, dict):
        assert isinstance(value, ConfigMap)
        assert value.keys() == value.settings.keys()
    if isinstance(value, list):
        assert isinstance(value, ConfigList)
        assert len(value) == len(value.settings)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_shape(item)


# ---- values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-1", -1), ("1_000", 1000), ("1.5", 1.5), ("1e-3", 0.001), ("1E3", 1000.0), ("inf", math.inf), ("-.inf", "-.inf"),
        ("null", None), ("NULL", None),  ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("abc", "abc"), ("a/b.c", "a/b.c"), ("", ""),
        ("'1'", "1"), ('"null"', "null"), ("'a,b'", "a,b"), ("'it\\'s'", "it's"), ("a b", "a b"), ("[1,a,[null]]", [1, "a", [None]]),
        ("{a: 1, b: {c: [d]}}", {"a": 1, "b": {"c": ["d"]}}), ("{1: a}", {1: "a"}), ("[]", []), ("{}", {}), ("${model}", "${model}"), ("${oc.env:HOME}", "${oc.env:HOME}"),
        ("'${model}'", "${model}"), ("???", "???"), ("int(3.7)", 3), ("str(4)", "4"), ("float(2)", 2.0), ("bool(1)", True), ("0x10", "0x10"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"),
        ("a\\,b", "a,b"), ("[a b,c]", ["a b", "c"]), ("x=y", None),
    ],
)  # fmt: skip
def test_a_value_is_read_as_hydra_reads_it(text: str, value: object) -> None:
    if text == "x=y":
        with pytest.raises(ConfigSyntaxError):
            applied(f"+new={text}")
        return
    found = applied(f"+new={text}")["new"]
    assert found == value
    assert type(found) is type(value) or isinstance(found, (ConfigMap, ConfigList))
    check_shape(found)


# ---- what changes, and what is remembered


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("trainer.max_steps=7", "trainer.max_steps", 7),
        ("trainer.max_steps=null", "trainer.max_steps", None),
        ("trainer.open=1", "trainer.open", 1),
        ("trainer.empty=1", "trainer.empty", 1),
        ("+trainer.new=1", "trainer.new", 1),
        ("++trainer.new=1", "trainer.new", 1),
        ("++trainer.lr=1", "trainer.lr", 1),
        ("+trainer.open=1", "trainer.open", 1),
        ("+trainer.empty=1", "trainer.empty", 1),
        ("+a.b.c=1", "a.b.c", 1),
        ("model.layers.0=11", "model.layers.0", 11),
        ("model.layers.1.w=2", "model.layers.1.w", 2),
        ("model.layers=[1]", "model.layers", [1]),
        ("model={size: 4}", "model", {"size": 4, "layers": [10, {"w": 1}], "name": "small"}),
        ("+model={new: 4}", "model.new", 4),
        ("model=null", "model", None),
        ("same=3", "same", 3),
        ("text=plain", "text", "plain"),
        ("named.one=null", "named.one", None),
        ("+named.two=2", "named.two", 2),
    ],
)
def test_an_override_changes_one_value_and_says_so(override: str, path: str, value: object) -> None:
    root = applied(override)
    check_shape(root)
    parent: Any = root
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        parent = parent[key]
    assert parent[last] == value
    newest = parent.settings[last]
    assert (newest.origin.layer, newest.origin.text, newest.origin.file) == ("override", override, "")


def test_the_past_of_a_value_goes_on_through_overrides() -> None:
    root = applied("trainer.max_steps=7", ("++trainer.max_steps=8", "--max-steps 8"), "trainer.max_steps=null")
    past = history(root["trainer"].settings["max_steps"])
    assert [one.value for one in past] == [5, 7, 8, None]
    assert [str(one.origin) for one in past] == [
        "/c.yaml:2", "override 'trainer.max_steps=7'", "flag '--max-steps 8'", "override 'trainer.max_steps=null'",
    ]  # fmt: skip


def test_each_part_of_an_overriding_mapping_has_a_past() -> None:
    root = applied("model={size: 4, name: x}", "model.layers.1.w=9", "model.layers.0=11")
    model = root["model"]
    assert [one.value for one in history(model.settings["size"])] == [3, 4]
    assert [one.value for one in history(model["layers"].settings[0])] == [10, 11]
    assert [one.value for one in history(model["layers"][1].settings["w"])] == [1, 9]
    assert len(history(root.settings["model"])) == 2


@pytest.mark.parametrize("override", ["~trainer.lr", "~trainer.lr=0.1", "~trainer", "~same", "~named.one"])
def test_a_deleted_key_leaves_nothing_behind(override: str) -> None:
    root = applied(override)
    check_shape(root)
    parent: Any = root
    *parents, last = override[1:].partition("=")[0].split(".")
    for key in parents:
        parent = parent[key]
    assert last not in parent


def test_overrides_apply_in_their_order() -> None:
    assert applied("trainer.lr=1", "~trainer.lr", "+trainer.lr=2")["trainer"]["lr"] == 2
    assert list(applied("~trainer.lr", "+trainer.lr=2")["trainer"]) == ["max_steps", "open", "empty", "lr"]


# ---- mistakes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.max_step=7", "'trainer' has no key 'max_step'\n  did you mean 'max_steps'?"),
        ("trainr.lr=7", "the config has no key 'trainr'\n  did you mean 'trainer'?"),
        ("optimizr=sgd", "the config has no key 'optimizr'\n  did you mean 'optimizer'?"),
        (
            "trainer.zzz=7",
            "'trainer' has no key 'zzz', it has max_steps, lr, open, empty\n  to add a key write +trainer.zzz=7",
        ),
        ("zzz=7", "the config has no key 'zzz'\n  to add a key write +zzz=7"),
        ("max_steps=7", "the config has no key 'max_steps'\n  did you mean 'trainer.max_steps'?"),
        (
            "optimizer.lr=7",
            "the config has no key 'optimizer'\n  nothing is chosen there; a config chooses with - /optimizer: CHOICE in its defaults",
        ),
        (
            "trainer.size=7",
            "'trainer' has no key 'size', it has max_steps, lr, open, empty\n  did you mean 'model.size'?",
        ),
        ("model={lr: 4}", "'model' has no key 'lr', it has size, layers, name\n  did you mean 'trainer.lr'?"),
        ("same.size=7", "'same' is the reference ${model}\n  change what it leads to"),
        ("zzz.y=7", "the config has no key 'zzz'"),
        ("trainer.lr.x=7", "no key 'x'"),
        ("model={siz: 4}", "'model' has no key 'siz'\n  did you mean 'size'?"),
        ("+trainer.lr=7", "'trainer.lr' has a value already\n  change it with 'trainer.lr=7'"),
        ("+same=7", "'same' has a value already"),
        ("model.layers.5=1", "the list has 2 items and no item '5'"),
        ("model.layers.x=1", "the list has 2 items and no item 'x'"),
        ("model.layers.-1=1", "-1"),
        ("+model.layers.2=1", "the list has 2 items and no item '2'"),
        ("~trainer.max_step", "there is no 'trainer.max_step' to delete\n  did you mean 'max_steps'?"),
        ("~zzz", "there is no 'zzz' to delete"),
        ("~trainer.lr=0.2", "'trainer.lr' is 0.1; nothing is deleted"),
        ("~model.layers.0", "is an item of a list and cannot be deleted"),
        ("trainer.lr=1,2", "several values make a sweep"),
        ("trainer.lr=range(1,3)", "several values make a sweep"),
        ("trainer.lr=choice(1,3)", "several values make a sweep"),
        ("trainer.lr=glob(*)", "several values make a sweep"),
        ("optimizr@x=sgd", "there is no config group 'optimizr'\n  did you mean 'optimizer'?"),
    ],
)
def test_a_mistake_says_what_is_there(override: str, message: str) -> None:
    with pytest.raises((OverrideError, ConfigSyntaxError)) as caught:
        pytest.fail(str(applied(override)))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"override '{override}': ")
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("learning_rate=7", "did you mean 'optimizer.lr'?"),
        ("lr=7", "did you mean 'optimizer.lr'?"),
        ("r=7", "did you mean 'model.adapter.r'?"),
        ("adapter.r=7", "did you mean 'model.adapter.r'?"),
        ("seed=7", "did you mean 'model.seed' or 'trainer.seed'?"),
        ("help=7", "to add a key write +help=7"),
        ("model.optimizer=7", "to add a key write +model.optimizer=7"),
        ("other.r=7", "nothing is chosen there; a config chooses with - /other: CHOICE in its defaults"),
        (
            "model.other.r=7",
            "nothing is chosen there; a config chooses with - /other@model.other: CHOICE in its defaults",
        ),
    ],
)
def test_a_key_that_stands_elsewhere_is_named_with_its_whole_path(override: str, hint: str) -> None:
    root = config("""\
optimizer: {lr: 1}
model: {seed: 1, adapter: {r: 8}, other: null}
trainer: {seed: 2, optimizer: "${optimizer}"}
again: {seed: "${trainer.seed}"}
args: {learning_rate: {key: optimizer.lr, help: the rate}}
other: null
""")
    with pytest.raises(OverrideError) as caught:
        apply_override(root, parse_overrides([override])[0], ("optimizer", "other", "adapter"))
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer", "an override sets a value\n  write trainer=VALUE, or ~trainer to delete it"),
        ("trainer.lr=[1,2", "'[' is not closed"),
        ("trainer.lr={a: 1", "'{' is not closed"),
        ("trainer.lr=int(3", "'(' is not closed"),
        ("trainer.lr=a#b", "the override does not parse\n  quote the value: trainer.lr='\"a#b\"'"),
        ("a..b=1", "'a..b' is no key and no group\n  a key is names joined by dots"),
        ("/a@b.c=d", "has no slash in front\n  leave out the slash, which is for defaults in a file: a@b.c=d"),
        ("+/a=d", "for defaults in a file: a=d"),
        ("=1", "''"),
        ("", "an override sets a value"),
        ("+", "an override sets a value"),
        ("a b=1", "'a b' is no key and no group"),
        ("trainer.lr=int(x)", "the override does not parse"),
        ("é=1", "'é' is no key and no group"),
        ("a/b@c.0.d-e=x#y", "quote the value: a/b@c.0.d-e='\"x#y\"'"),
        ("a=\x00", "the override does not parse"),
    ],
)
def test_a_text_that_is_no_override_is_a_syntax_mistake(override: str, message: str) -> None:
    with pytest.raises((ConfigSyntaxError, OverrideError)) as caught:
        pytest.fail(str(applied(override)))
    assert message in str(caught.value)


def test_a_reference_that_leads_nowhere_is_not_added_over_in_silence() -> None:
    with pytest.raises(InterpolationError, match=r"\$\{gone\} leads nowhere"):
        applied("+a=1", text="a: ${gone}\n")


@pytest.mark.parametrize(
    "override",
    ["+k=" + "[" * 200 + "]" * 200, "+k=" + "[" * 5000 + "]" * 5000, "+k=" + "{a: " * 300 + "1" + "}" * 300, "+" + "a." * 2000 + "b=1", "trainer." + "a." * 2000 + "b=1", "~" + "a." * 2000 + "b"],
)  # fmt: skip
def test_an_override_nested_without_end_is_a_typed_error(override: str) -> None:
    with pytest.raises((ConfigLimitError, ConfigSyntaxError)) as caught:
        applied(override)
    assert len(str(caught.value)) < 500


def test_a_failed_override_changes_nothing() -> None:
    for override in (
        "model={size: 4, siz: 5}",
        "trainer.lr.x=1",
        "+trainer.lr=7",
        "~trainer.lr=0.2",
        "model.layers.5=1",
        "zzz.y=1",
    ):
        root = config()
        with pytest.raises(ForgeError):
            apply_override(root, parse_overrides([override])[0], GROUPS)
        assert root == config(), override
        check_shape(root)


def test_a_secret_is_not_shown_in_the_place_of_a_value() -> None:
    for override in (
        "+api_key=hunter2",
        "+a.hf_token=hunter2",
        "+a={password: hunter2}",
        ("++a.api_key=hunter2", "--api-key hunter2"),
    ):
        [parsed] = parse_overrides([override])
        assert "hunter2" not in str(parsed.origin)
        assert "hunter2" not in parsed.typed
    with pytest.raises(ForgeError) as caught:
        applied("trainer.api_key=hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ForgeError) as caught:
        applied("trainer.api_key=hun#ter2")
    assert "ter2" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abtrainer.lmodsz=+~@[]{}(),:'\"\\ $#01-", max_size=18))
def test_no_text_makes_anything_but_a_typed_error(text: str) -> None:
    try:
        root = applied(text)
    except ForgeError:
        return
    check_shape(root)
    OverridesParser.create().parse_override(text)  # what forge takes, Hydra takes
