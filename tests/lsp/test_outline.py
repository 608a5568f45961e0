from __future__ import annotations

import pytest

from forge.lsp.outline import Span, outline

TEXT = """\
# a comment
model:
  _target_: a.B
  list: [1, {x: y}]
"ключ 🙂": 'text'
"""


def paths(text: str) -> list[str]:
    return [".".join(map(str, entry.path)) for entry in outline(text).entries if entry.path]


def test_each_value_has_its_path_and_places() -> None:
    read = outline(TEXT)
    assert paths(TEXT) == [
        "model",
        "model._target_",
        "model.list",
        "model.list.0",
        "model.list.1",
        "model.list.1.x",
        "ключ 🙂",
    ]
    entry = read.find(("model", "_target_"))
    assert entry is not None
    assert (entry.key, entry.value, entry.text) == (Span(2, 2, 2, 10), Span(2, 12, 2, 15), "a.B")
    last = read.find(("ключ 🙂",))
    assert last is not None
    assert last.value == Span(4, 10, 4, 16)
    assert [entry.path[-1] for entry in read.children(("model",))] == ["_target_", "list"]


@pytest.mark.parametrize(
    ("line", "column", "path"),
    [
        (1, 0, ("model",)),
        (2, 3, ("model", "_target_")),
        (2, 15, ("model", "_target_")),
        (3, 14, ("model", "list", 1, "x")),
        (0, 3, None),
        (9, 0, None),
    ],
)
def test_a_position_finds_the_innermost_value(line: int, column: int, path: object) -> None:
    found = outline(TEXT).at(line, column)
    assert (found.path if found else None) == path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", ["a", "c"]),
        ("a: 1\n  b: 2\nc: 3\n", ["a", "c"]),
        ("a: 1\nbc\nd: 2\n", ["a", "d"]),
        ("a: 'open\nb: 2\n", ["b"]),
        ("a: 1\n\tb: 2\nc: 3\n", ["a", "c"]),
        ("a: *nosuch\nb: 1\n", ["a", "b"]),
        ("a: !!python/x 1\nb: 1\n", ["a", "b"]),
        ("? [1, 2]\n: 3\nb: 1\n", ["", "b"]),
        ("a: \0\x07\nb: 1\n", ["a", "b"]),
        ("%\n@\n`\n", []),
        ("", []),
    ],
)
def test_a_broken_line_costs_only_itself(text: str, expected: list[str]) -> None:
    assert paths(text) == expected


def test_a_text_without_end_is_not_read_for_long() -> None:
    assert outline("[" * 200_000).entries is not None
    assert outline("a: " + "{b: " * 5_000).entries is not None
    assert outline("x" * (9 * 1024 * 1024)).entries == ()
