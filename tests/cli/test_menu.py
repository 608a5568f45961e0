from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.cli.menu import MenuItem, agreed, at_a_terminal, choose, is_numbers, numbered, positions, reply_to
from forge.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = [MenuItem("project", "a.yaml"), MenuItem("project", "b.yaml"), MenuItem("library", "c.yaml")]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Output]:
    """An output beside an input that holds these lines."""

    def make(text: str) -> Output:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return Output(io.StringIO(), io.StringIO())

    return make


def printed(output: Output) -> str:
    assert isinstance(output.stream, io.StringIO)
    return output.stream.getvalue()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("1", [0]),
        ("1-3,7", [0, 1, 2, 6]),
        ("7,1", [6, 0]),
        ("1 3-4  2", [0, 2, 3, 1]),
        ("1,1-2,2", [0, 1]),
        ("", []),
        ("9-9", [8]),
    ],
)
def test_numbers_are_positions(words: str, expected: list[int]) -> None:
    assert positions(words, 9) == expected


@pytest.mark.parametrize("words", ["0", "10", "3-1", "1-10", "x", "1-", "-1", "1--2", "9" * 5000, "²", "1-3x"])
def test_other_numbers_are_refused(words: str) -> None:
    with pytest.raises(UsageError):
        positions(words, 9)


@pytest.mark.parametrize(
    ("word", "expected"), [("1", True), ("1-3,7", True), ("1,", False), ("a1", False), ("", False)]
)
def test_a_word_of_numbers_is_known(word: str, expected: object) -> None:
    assert is_numbers(word) is expected


def test_items_stand_below_their_groups_with_their_numbers() -> None:
    assert numbered(ITEMS) == "project\n  1  a.yaml\n  2  b.yaml\n\nlibrary\n  3  c.yaml"
    assert numbered([MenuItem("all", "x")] * 10).splitlines()[1] == "   1  x"
    assert numbered([]) == ""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("1,3\n", [0, 2]), ("a\n", [0, 1, 2]), ("ALL\n", [0, 1, 2]), ("\n", []), ("", []), ("2", [1])],
)
def test_an_answer_chooses(answers: Callable[[str], Output], typed: str, expected: list[int]) -> None:
    output = answers(typed)
    assert choose(output, "files", ITEMS) == expected
    assert printed(output).startswith(numbered(ITEMS) + "\n\nfiles (like 1-3,7;")


def test_a_wrong_answer_is_asked_again(answers: Callable[[str], Output]) -> None:
    output = answers("7\nx\n2\n")
    assert choose(output, "files", ITEMS) == [1]
    assert isinstance(output.errors, io.StringIO)
    assert output.errors.getvalue() == (
        "error: the list has no 7\n  it goes from 1 to 3\nerror: 'x' is no number of the list\n  write numbers like 1-3,7\n"
    )


def test_a_question_ends_its_line_when_the_input_does(answers: Callable[[str], Output]) -> None:
    output = answers("")
    assert reply_to(output, "who? ") == ""
    assert printed(output) == "who? \n"
    assert reply_to(answers(" me \n"), "who? ") == "me"


@pytest.mark.parametrize(
    ("typed", "expected"), [("y\n", True), ("Yes\n", True), ("\n", False), ("", False), ("n\n", False)]
)
def test_only_yes_is_yes(answers: Callable[[str], Output], typed: str, expected: object) -> None:
    assert agreed(answers(typed), "make it?") is expected


def test_without_a_terminal_nobody_is_asked(answers: Callable[[str], Output], monkeypatch: pytest.MonkeyPatch) -> None:
    output = answers("")
    assert not at_a_terminal(output)
    monkeypatch.setattr(output.stream, "isatty", lambda: True)
    assert not at_a_terminal(output)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert at_a_terminal(output)
    monkeypatch.setattr("sys.stdin", None)
    assert not at_a_terminal(output)
