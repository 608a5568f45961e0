from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.output.vt100 import Vt100_Output

from forge.cli.menu import MenuItem
from forge.shell.pick import fuzzy, pick

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = [
    MenuItem("project", "configs/pretrain/tiny.yaml"),
    MenuItem("project", "configs/chat/full.yaml"),
    MenuItem("library", "optimizer/adamw.yaml"),
    MenuItem("library", "optimizer/adafactor.yaml"),
    MenuItem("chat templates", "chatml.jinja"),
]
UP, DOWN, ENTER, ESCAPE, ALL = "\x1b[A", "\x1b[B", "\r", "\x1b", "\x01"


@pytest.fixture
def typing() -> Callable[[str], list[int]]:
    """The positions that are chosen by typing this."""

    def choose(keys: str) -> list[int]:
        with create_pipe_input() as source:
            source.send_text(keys)
            return pick("files", ITEMS, source=source, screen=DummyOutput())

    return choose


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (ENTER, [0]),
        (DOWN + ENTER, [1]),
        (UP + ENTER, [4]),
        (" " + " " + ENTER, [0, 1]),
        ("\t" + DOWN + "\t" + ENTER, [0, 2]),
        (" " + UP + " " + ENTER, [1]),
        ("ada" + ENTER, [2]),
        ("ada" + DOWN + ENTER, [3]),
        ("adw" + " " + ENTER, [2]),
        ("lib" + ALL + ENTER, [2, 3]),
        (ALL + ENTER, [0, 1, 2, 3, 4]),
        (ALL + ALL + DOWN + ENTER, [1]),
        ("adw" + "\t" + "\x15" + "jin" + "\t" + ENTER, [2, 4]),
        ("af" + ENTER, [3]),
        ("fm" + ENTER, [0]),
        ("1-2,5" + ENTER, [0, 1, 4]),
        ("3" + " " + "\x15" + "1" + ENTER, [2]),
        ("6" + ENTER, []),
        ("nosuch" + ENTER, []),
        ("nosuch" + " " + DOWN + ENTER, []),
        (" " + ESCAPE, []),
        (" " + "\x03", []),
        ("\x04", []),
    ],
)
def test_keys_choose(typing: Callable[[str], list[int]], keys: str, expected: list[int]) -> None:
    assert typing(keys) == expected


@pytest.mark.parametrize(
    ("needle", "text", "expected"),
    [
        ("", "anything", True),
        ("adw", "optimizer/adamw.yaml", True),
        ("ADW", "optimizer/adamw.yaml", True),
        ("wda", "optimizer/adamw.yaml", False),
        ("yaml opt", "optimizer/adamw.yaml", True),
        ("yaml nix", "optimizer/adamw.yaml", False),
        ("libr adw", "optimizer/adamw.yaml", True),
        ("lrb", "optimizer/adamw.yaml", False),
    ],
)
def test_letters_are_found_in_their_order(needle: str, text: str, expected: object) -> None:
    assert fuzzy(needle, MenuItem("library", text)) is expected


def test_the_list_shows_groups_marks_and_what_the_keys_do() -> None:
    drawn: list[str] = []

    class Recorder:
        """A terminal that keeps what is drawn."""

        encoding = "utf-8"

        def write(self, text: str) -> int:
            drawn.append(text)
            return len(text)

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 1

    screen = Vt100_Output(Recorder(), lambda: Size(24, 80), term="xterm", enable_cpr=False)  # type: ignore[arg-type]
    with create_pipe_input() as source:
        source.send_text(" " + ESCAPE)
        assert pick("files of tiny", ITEMS, source=source, screen=screen) == []
    shown = "".join(drawn)
    for part in (
        "files of tiny:",
        "project",
        "library",
        "chat templates",
        " x 1  configs/pretrain/tiny.yaml",
        ">  1  configs/pretrain/tiny.yaml",
        "Esc leaves",
    ):
        assert part in shown, part
