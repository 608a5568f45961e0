from __future__ import annotations

from forge.lsp.outline import Span
from forge.lsp.symbols import symbols_of


def test_keys_are_a_tree_in_which_objects_carry_their_target() -> None:
    model, items = symbols_of("model:\n  _target_: a.B\n  size: 3\nitems: [x, {y: 1}]\n")
    assert (model.name, model.kind, model.detail) == ("model", "object", "a.B")
    assert [(child.name, child.kind, child.detail) for child in model.children] == [
        ("_target_", "key", "a.B"),
        ("size", "key", "3"),
    ]
    assert (model.key, model.whole) == (Span(0, 0, 0, 5), Span(0, 0, 3, 0))
    assert [child.name for child in items.children] == ["[0]", "[1]"]


def test_the_whole_holds_the_key_also_in_a_broken_text() -> None:
    stack = list(symbols_of("a:\n  b: [1, {c: \nd\n'': 3\ne: *x\n"))
    assert stack
    while stack:
        one = stack.pop()
        assert one.name
        assert one.whole[:2] <= one.key[:2]
        assert one.key[2:] <= one.whole[2:]
        stack.extend(one.children)
