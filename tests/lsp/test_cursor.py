from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.lsp.cursor import cursor_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Spot


@pytest.mark.parametrize(
    ("text", "kind", "path", "typed"),
    [
        ("a:\n  ‸\n", "key", ("a",), ""),
        ("a:\n  b: 1\n  c‸\nd: 1\n", "key", ("a",), "c"),
        ("a:\n  c‸: 1\n", "key", ("a",), "c"),
        ("‸", "key", (), ""),
        ("a: ‸", "value", ("a",), ""),
        ("a:\n  b: x.y‸\n  c: 1\n", "value", ("a", "b"), "x.y"),
        ("a: {b: 1, c‸", "key", ("a",), "c"),
        ("a: {b: 1, c‸}", "key", ("a",), "c"),
        ("a: {b: ‸}", "value", ("a", "b"), ""),
        ("a: {b: {c: 1}, d: e‸", "value", ("a", "d"), "e"),
        ("a: [b, c‸]", "item", ("a", 1), "c"),
        ("a:\n  - ‸\n", "item", ("a", 0), ""),
        ("defaults:\n  - x\n  - override /g: ‸\n", "value", ("defaults", 1, "override /g"), ""),
        ("defaults:\n  - /g: [a, b‸]\n", "item", ("defaults", 0, "/g", 1), "b"),
        ("a:\n  b: ${c.d‸\n", "reference", ("a", "b"), "c.d"),
        ("a:\n  b: x-${‸}-y\n", "reference", ("a", "b"), ""),
        ("a: {b: '${c‸}'}", "reference", ("a", "b"), "c"),
        ("a: 'quo‸", "value", ("a",), "quo"),
        ("broken: [\na:\n  b: 1\n  c‸\n", "key", ("a",), "c"),
    ],
)
def test_it_is_known_what_is_being_typed(
    text: str, kind: str, path: object, typed: str, spot: Callable[[str], Spot]
) -> None:
    found = cursor_at(*spot(text))
    assert found is not None
    assert (found.kind, found.path, found.typed) == (kind, path, typed)
    where = spot(text)
    assert where.text.split("\n")[where.line][found.column : where.column].lstrip("'\"") == typed


@pytest.mark.parametrize("text", ["# a‸", "a: 1  # b‸", "a: 1\n- ‸\n"])
def test_a_comment_and_a_place_that_is_none_have_no_answer(text: str, spot: Callable[[str], Spot]) -> None:
    assert cursor_at(*spot(text)) is None


def test_a_position_outside_of_the_text_has_no_answer() -> None:
    assert cursor_at("a: 1", 7, 0) is None
    assert cursor_at("a: 1", -1, 0) is None
