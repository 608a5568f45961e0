"""What a run prints is shown as it is: no markup, and no command to the terminal."""

from __future__ import annotations

import io

import pytest

from forge.ml.line_console import LineConsole


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return Terminal()


LINE = "saved: [bold]/tmp/a\x1b]0;title\x07 :smile: 12"


def test_a_terminal_is_not_commanded(terminal: Terminal) -> None:
    LineConsole(terminal).print(LINE)
    assert terminal.getvalue() == "saved: [bold]/tmp/a\\x1b]0;title\\x07 :smile: 12\n"


def test_a_file_gets_the_text_as_it_is() -> None:
    stream = io.StringIO()
    LineConsole(stream).print(LINE)
    assert "\x1b]0;title" in stream.getvalue()


def test_long_lines_are_not_broken(terminal: Terminal) -> None:
    LineConsole(terminal).print("word " * 100)
    assert terminal.getvalue().count("\n") == 1


def test_a_quiet_one_says_nothing(terminal: Terminal) -> None:
    LineConsole(terminal, quiet=True).print("word")
    assert terminal.getvalue() == ""
