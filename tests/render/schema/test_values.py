from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from forge.compose.arguments import Argument
from forge.graph.static.signature import Parameter
from forge.render.schema.values import SHARED, any_of, described, flag_rule, parameter_rule, switch

COMPUTED = ["${a}", "x-${a}", "???", {"_target_": "x.y"}, {}]


def accepted(rule: dict[str, Any], value: object) -> bool:
    return bool(Draft7Validator({"definitions": SHARED, "allOf": [rule]}).is_valid(value))


def parameter(annotation: str, default: str | None = None) -> Parameter:
    return Parameter("x", "keyword_only", default is None, annotation, default)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [1, True, "1_000", "0b1"], ["1", 1.5, None, [1]]),
        ("float", [1, 1.5], ["1", None]),
        ("bool", [True, 0, 1, "no", "ON"], [2, "maybe", None]),
        ("str", ["a", ""], [1, None, True, ["a"]]),
        ("str | None", ["a", None], [1]),
        ("list[int]", [[1], ["a"]], [1, "a"]),
        ("dict[str, int]", [{"a": 1}], [1, [1]]),
        ("Literal['a', 'b'] | None", ["a", None], ["c", 1]),
        ("Optional[Union[int, str]]", [1, "a", None], [[1]]),
    ],
)
def test_a_type_refuses_what_it_surely_does_not_take(annotation: str, good: list[object], bad: list[object]) -> None:
    rule = parameter_rule(parameter(annotation))
    assert [value for value in [*good, *COMPUTED] if not accepted(rule, value)] == []
    assert [value for value in bad if accepted(rule, value)] == []


@pytest.mark.parametrize("annotation", ["", "Tensor", "float | Tensor", "Any", "list[", "Path | None"])
def test_where_nothing_is_sure_nothing_is_refused(annotation: str) -> None:
    assert parameter_rule(parameter(annotation)) == {}


def test_a_default_of_none_admits_null() -> None:
    assert accepted(parameter_rule(parameter("int", "None")), None)
    assert parameter_rule(parameter("int", "'auto'")) == {}


def test_a_flag_refuses_what_breaks_its_rules() -> None:
    rule = flag_rule(Argument("steps", "a.steps", type="int", min=1, max=9))
    assert all(accepted(rule, value) for value in [1, 9, None, "1_0", *COMPUTED])
    assert not any(accepted(rule, value) for value in [0, 10, "many", True])
    rule = flag_rule(Argument("how", "how", choices=("no", "steps")))
    assert [accepted(rule, value) for value in ["no", "steps", "epoch", None]] == [True, True, False, True]
    assert accepted(flag_rule(Argument("quiet", "quiet", type="bool")), "yes")


def test_one_rule_that_says_nothing_silences_all() -> None:
    assert any_of([{"type": "string"}, {}]) == {}
    assert any_of([]) == {}
    assert any_of([{"type": "string"}, {"type": "string"}]) == {"type": "string"}
    assert any_of([{"type": "string"}, {"type": "null"}]) == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_a_switch_is_true_or_false() -> None:
    rule = switch("What for.")
    assert [accepted(rule, value) for value in [True, "off", "${x}", "maybe", 1, None]] == [True] * 3 + [False] * 3
    assert rule["description"] == "What for."


def test_parameters_that_are_alike_are_described_once() -> None:
    one, other = parameter("int", "3"), parameter("float")
    assert described([("a.A", one), ("b.B", one), ("c.C", other)])["description"] == "x: int = 3  (A, B)\nx: float  (C)"
