from __future__ import annotations

import math
import os
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forge.base.errors import UsageError
from forge.base.secrets import Secret
from forge.compose.quote import quote_value

FULL = bool(os.environ.get("FORGE_FULL"))

PARSER = OverridesParser.create()


def parsed(line: str) -> Any:
    return PARSER.parse_override(line).value()


TRICKY = st.text(alphabet="ab 0.5eE+-_'\"\\,=:{}[]()$#&!~\n\téinfatrul", max_size=12)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TRICKY, st.text(max_size=8))
DICT_KEYS = st.one_of(st.sampled_from(["a", "b_c", "_target_", "a.b", "x y", "k=v", "a:b", "\\"]), st.integers(0, 9))
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(DICT_KEYS, inner, max_size=3)),
    max_leaves=6,
)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    return type(one) is type(two) and one == two


@settings(max_examples=1500 if FULL else 500, deadline=None)
@given(SCALARS)
@example("1e-3")
@example("null")
@example("a\\")
@example("it's")
@example("\\'")
@example("a\\\\'b\\")
@example("${a.b}")
@example("$HOME")
@example("1_000")
@example("true-ish")
@example("inf/x")
def test_hydra_reads_the_same_value_back(value: Any) -> None:
    assert same(value, parsed(f"a.b={quote_value(value)}"))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NESTED)
def test_hydra_reads_the_same_nested_value_back(value: Any) -> None:
    assert same(value, parsed(f"+a.b={quote_value(value)}"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("adamw", "adamw"),
        ("data/train-v2.jsonl", "data/train-v2.jsonl"),
        ("two words", "'two words'"),
        ("", "''"),
        ("12", "'12'"),
        ("NULL", "'NULL'"),
        ("True", "'True'"),
        (True, "true"),
        (None, "null"),
        (float("-inf"), "-inf"),
        (1e-5, "1e-05"),
        ([1, "a,b"], "[1,'a,b']"),
        ({"lr": 0.1, "x y": None}, "{lr:0.1,x\\ y:null}"),
        (Secret("hunter2"), "'********'"),
    ],
)
def test_a_value_is_quoted_only_where_it_has_to_be(value: object, expected: str) -> None:
    assert quote_value(value) == expected


@pytest.mark.parametrize("key", ["1", "null", "it's", "é", ""])
def test_a_key_that_hydra_cannot_read_is_a_mistake_and_not_another_key(key: str) -> None:
    with pytest.raises(UsageError, match="Hydra has no override for the key"):
        quote_value({key: 1})
