from __future__ import annotations

import typing
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.graph.static.literal_types import fits, wanted


@pytest.mark.parametrize(
    ("annotation", "admits", "refuses"),
    [
        ("int", [1], ["x", 1.5, None]),
        ("float", [1, 1.5], ["x", None]),
        ("str", ["x"], [1, None]),
        ("bool", [True, 0, 1], ["x", 2, 1.5]),
        ("None", [None], [1]),
        ("'int | None'", [1, None], ["x"]),
        ("Optional[int]", [1, None], ["x"]),
        ("typing.Union[int, typing.List[str]]", [1, []], ["x", {}]),
        ("list[int] | dict[str, list[int]]", [[], {}], [1, "x"]),
        ("Dict[str, Any]", [{}], [[]]),
        ("Literal['none', 'all', 3]", ["none", "all", 3], ["some", 4, None, True]),
        ("Literal['a', None, True]", ["a", None, True], ["b", 1, False]),
        ("Literal['a'] | int", ["a", 2], ["b"]),
    ],
)
def test_a_plain_annotation_says_what_it_admits(annotation: str, admits: list[Any], refuses: list[Any]) -> None:
    found = wanted(annotation)
    assert found is not None
    assert all(fits(found, kind_of(value), value) for value in admits)
    assert not any(fits(found, kind_of(value), value) for value in refuses)


@pytest.mark.parametrize(
    "annotation",
    ["", "Tensor", "int | Tensor", "tuple[int, int]", "Sequence[int]", "Any", "Optional[Path]", "Literal[Color.RED]", "int |", "list[",
     "f(x)", "Literal['a' 'b']", "int str", "Callable[[int], str]", "'unclosed", "Optional", "1", "[int]"],
)  # fmt: skip
def test_anything_else_cannot_be_told(annotation: str) -> None:
    assert wanted(annotation) is None


def test_deep_annotations_end() -> None:
    assert wanted("Optional[" * 500 + "int" + "]" * 500) is None
    assert wanted("list[" * 5000 + "int" + "]" * 5000) is not None


def kind_of(value: object) -> str:
    return "None" if value is None else type(value).__name__


def admitted(hint: Any, value: object) -> bool:
    """The same answer from Python's own types."""
    if hint is None or hint is type(None):
        return value is None
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union:
        return any(admitted(part, value) for part in parts)
    if origin is Literal:
        return any(type(part) is type(value) and part == value for part in parts)
    kind = origin or hint
    if kind is float and type(value) is int:
        return True
    return type(value) is kind or (kind is bool and type(value) is int and value in (0, 1))


PLAIN = st.sampled_from([int, str, float, bool, None, list[int], dict[str, int], Literal["a", "b"], Literal[1, 2]])
HINTS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(inner.map(Optional.__getitem__), st.tuples(inner, inner).map(Union.__getitem__)),
)
VALUES = st.sampled_from([1, 2, "a", "c", 1.5, None, [], {}, 0])


@given(HINTS, VALUES)
def test_generated_annotations_mean_what_python_says(hint: Any, value: object) -> None:
    text = (
        "None"
        if hint is None
        else hint.__name__
        if isinstance(hint, type) and not typing.get_args(hint)
        else repr(hint)
    )
    found = wanted(text.replace("NoneType", "None"))
    assert found is not None
    assert fits(found, kind_of(value), value) == admitted(hint, value)


@given(st.text(alphabet="intsrNoeLal[]|,'\" .()123", max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    wanted(text)
