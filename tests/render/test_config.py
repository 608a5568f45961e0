from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from forge.base.secrets import Secret, is_secret_name
from forge.compose.document import parse_document
from forge.render.config import config_data, config_yaml, scalar

MARKS = " :#-\n'\"[]{},$&*!|>%@`~?=.0123456789eEtrufalsno"
text = st.text(st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from(MARKS)), max_size=20)
leaf = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False), text)
key = st.one_of(text, st.integers(), st.booleans()).filter(lambda one: not is_secret_name(one))
tree = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(key, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(key, tree, max_size=4))
@example({"a": ["x, y", "[z]", {"b": [[]]}]})
@example({"a": "first\n second\n", "b": "\nx", "c": "x\n\n", "d": ["two\nlines"]})
@example({"yes": "no", "1": "1e3", "a": "=", "b": "<<", "c": "a: b", "d": "x #y", "e": "- z"})
def test_yaml_reads_back_what_was_written(data: dict[object, object]) -> None:
    assert yaml.load(config_yaml(data), yaml.CSafeLoader) == data


@given(
    st.dictionaries(
        text.filter(lambda one: one not in {"<<", "defaults"} and not is_secret_name(one)), leaf, max_size=4
    )
)
def test_forge_reads_back_what_was_written(data: dict[str, object]) -> None:
    assert parse_document(config_yaml(data).encode(), "x.yaml", "project").tree == data


def test_each_line_names_its_place() -> None:
    tree = parse_document(b"a: 1\nb:\n  c: [1, 2]\n  d:\n  - e: 2\n    f: 3\n", "/x.yaml", "project").tree
    lines = config_yaml(tree, origins=True).splitlines()
    assert [line.split("#")[0].rstrip() for line in lines] == [
        "a: 1",
        "b:",
        "  c: [1, 2]",
        "  d:",
        "    - e: 2",
        "      f: 3",
    ]
    assert [line.rpartition(":")[2] for line in lines] == ["1", "2", "3", "4", "5", "6"]


def test_secrets_are_masked_by_name_and_by_type() -> None:
    data = {
        "api_key": "x",
        "n": Secret("x"),
        "secrets": {"inner": ["x"]},
        "hf_token": "${oc.env:FORGE_X}",
        "password": None,
    }
    shown = config_yaml(data)
    assert "x" not in shown.replace("FORGE_X", "")
    assert config_data(data)["secrets"] == {"inner": ["********"]}
    assert "hf_token: ${oc.env:FORGE_X}" in shown
    assert "password: null" in shown


@pytest.mark.parametrize(
    ("value", "written"),
    [(1e-05, "1.0e-05"), (2.5e-3, "0.0025"), (float("inf"), ".inf"), ("${a.b}", "${a.b}"), ("on", '"on"'), ("", '""')],
)
def test_a_value_is_written_as_people_write_it(value: object, written: str) -> None:
    assert scalar(value) == written


def test_a_config_deeper_than_pythons_stack_is_written() -> None:
    tree: object = 1
    for _ in range(3000):
        tree = {"a": tree}
    assert config_yaml(tree).count("\n") == 2999
