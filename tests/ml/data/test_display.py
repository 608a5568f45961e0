from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.ml.data.display import beside, cells, painted, visible, with_marks, wrapped

if TYPE_CHECKING:
    from forge.ml.data.display import StyledLine, StyledText

RUNS = st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["plain", "learned", "context"])), max_size=8)


def _texts(lines: list[StyledLine]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a↵\nb"),
        ("\ta\r", "⇥a␍"),
        ("\x1b[31m\x00\x7f", "␛[31m␀␡"),
        ("\x9b31m\u202e", "�31m�"),
        ("é你🙂", "é你🙂"),
    ],
)
def test_nothing_that_a_terminal_acts_upon_is_printed(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(("text", "size"), [("abc", 3), ("你好", 4), ("é", 1), ("e\u0301", 1), ("a\u200bb", 2)])
def test_a_text_takes_cells(text: str, size: int) -> None:
    assert cells(text) == size


def test_lines_break_behind_spaces_and_at_newlines() -> None:
    assert _texts(wrapped([("the quick brown fox\njumps", "plain")], 10)) == ["the quick ", "brown fox", "jumps"]
    assert _texts(wrapped([("abcdefghijklmnopqrstuvwxyz", "plain")], 10)) == ["abcdefghij", "klmnopqrst", "uvwxyz"]
    assert _texts(wrapped([("你好你好", "plain")], 5)) == ["你好", "你好"]


def test_a_token_is_not_torn_apart() -> None:
    runs: list[StyledText] = [("jumping", "learned"), (" over", "context"), (" fences", "learned")]
    assert wrapped(runs, 10) == [[("jumping", "learned")], [(" over", "context")], [(" fences", "learned")]]


@given(runs=RUNS, width=st.integers(4, 40))
def test_wrapping_keeps_every_character_and_the_width(runs: list[StyledText], width: int) -> None:
    lines = wrapped(runs, width)
    assert "".join(_texts(lines)) == "".join(text for text, _ in runs).replace("\n", "")
    assert max(map(cells, _texts(lines))) <= width


def test_what_is_learned_is_green_or_stands_between_marks() -> None:
    runs: list[StyledText] = [("a", "context"), ("b", "learned"), ("c", "learned_odd"), ("d", "plain")]
    assert painted(runs, colour=True) == "\x1b[2ma\x1b[0m\x1b[32mb\x1b[0m\x1b[92mc\x1b[0md"
    assert painted(runs, colour=False) == "abcd"
    assert painted(list(with_marks(runs)), colour=False) == "a⟦bc⟧d"
    assert painted(list(with_marks(runs[:2])), colour=False) == "a⟦b⟧"


def test_two_texts_stand_side_by_side() -> None:
    left: list[StyledLine] = [[("ab", "plain")], []]
    right: list[StyledLine] = [[("x", "plain")], [("y", "plain")], [("z", "plain")]]
    assert _texts(beside(left, right, 4)) == ["ab   │ x", "     │ y", "     │ z"]
