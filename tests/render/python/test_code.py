from __future__ import annotations

import ast
import keyword
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import GraphError
from forge.base.secrets import MASK, Secret
from forge.render.python.code import (
    Atom,
    Code,
    Group,
    Item,
    argument,
    comment,
    identifier,
    is_identifier,
    is_taken,
    literal,
    written,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=8)
FINITE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    FINITE, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(FINITE, inner, max_size=6), max_leaves=30
)
CODE: st.SearchStrategy[Code] = st.recursive(
    st.integers(0, 10**12).map(lambda number: Atom(str(number))),
    lambda inner: st.lists(
        st.builds(Item, inner, st.just(""), st.sampled_from(["", "# why"]), st.booleans()), max_size=6
    ).map(lambda items: Group("[", tuple(items), "]")),
    max_leaves=25,
)


def value(source: str) -> Any:
    return ast.literal_eval(source)


@given(VALUES)
def test_a_literal_reads_back_as_the_value_and_its_type(given_value: Any) -> None:
    read = value(written(literal(given_value)))
    assert read == given_value
    assert repr(read) == repr(given_value)  # 1 is not True, 0.0 is not -0.0


@pytest.mark.parametrize("number", [10**5000, -(10**5000), 2**64, -1], ids=["long", "negative", "wide", "short"])
def test_a_long_number_reads_back(number: int) -> None:
    assert value(written(literal(number))) == number


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_made_from_its_name(number: float) -> None:
    call = ast.parse(written(literal(number)), mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "float"
    assert repr(float(ast.literal_eval(call.args[0]))) == repr(number)


@pytest.mark.parametrize("refused", [object(), {1, 2}, len, {(1, 2): 3}, [print], 1j])
def test_what_is_no_plain_value_is_refused(refused: object) -> None:
    with pytest.raises(GraphError, match="cannot be written as Python"):
        literal(refused)


def test_a_secret_is_its_mask_wherever_it_lies() -> None:
    source = written(literal({"a": [Secret("hunter2")]}))
    assert value(source) == {"a": [MASK]}


@given(st.text())
def test_a_comment_is_one_line_without_code(text: str) -> None:
    note = comment(text)
    assert len(note.splitlines()) == 1
    assert ast.parse(note).body == []


@given(SCALARS.map(literal), st.text())
def test_a_note_behind_a_statement_changes_nothing_of_it(code: Code, text: str) -> None:
    assert ast.dump(ast.parse(written(code, "x = ", comment(text)))) == ast.dump(ast.parse(written(code, "x = ")))


@given(CODE)
def test_lines_say_the_same_as_one_line_and_fit_when_they_can(code: Code) -> None:
    lines = written(code, "result = ").splitlines()
    assert ast.dump(ast.parse("\n".join(lines))) == ast.dump(ast.parse(f"result = {_plain(code)}"))
    if len(lines) == 1 and isinstance(code, Group) and code.items:
        assert len(lines[0]) <= 100
        assert not code.pinned
    assert all(line.count("[") == line.count("]") for line in lines if len(line) > 100)


def _plain(code: Code) -> str:
    return code.text if isinstance(code, Atom) else f"[{', '.join(_plain(item.code) for item in code.items)}]"


def test_a_pinned_comment_keeps_its_group_on_several_lines() -> None:
    inner = Group("f(", (Item(Atom("1"), "x=", "# here", pinned=True),), ")")
    assert inner.pinned
    assert Group("[", (Item(inner),), "]").pinned
    assert written(inner, "a = ", "# there") == "a = f(  # there\n    x=1,  # here\n)"


@given(st.text(max_size=4) | st.sampled_from(keyword.kwlist + keyword.softkwlist) | st.text("aé_ﬁµ1²", max_size=3))
def test_an_identifier_is_what_python_can_bind_under_that_very_name(word: str) -> None:
    assert is_identifier(word) is _binds(word)
    if is_identifier(word):
        assert identifier(word) == word
        assert argument(word) == f"{word}="
    else:
        with pytest.raises(GraphError, match="not a Python name"):
            argument(word)


def _binds(word: str) -> bool:
    """Whether Python itself reads ``word = 1`` as an assignment to that name."""
    try:
        body = ast.parse(f"{word} = 1").body
    except (SyntaxError, ValueError):
        return False
    targets = body[0].targets if len(body) == 1 and isinstance(body[0], ast.Assign) else []
    return len(targets) == 1 and isinstance(targets[0], ast.Name) and targets[0].id == word


@pytest.mark.parametrize("word", [None, 3, "__debug__", "None", "a b", "", "a\n", "ﬁ"])
def test_what_python_would_read_as_something_else_is_no_identifier(word: object) -> None:
    assert not is_identifier(word)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("print", True),
        ("list", True),
        ("match", True),
        ("__name__", True),
        ("__x__", True),
        ("model", False),
        ("_x", False),
    ],
)
def test_names_that_every_module_has_are_taken(word: str, expected: object) -> None:
    assert is_taken(word) is expected
