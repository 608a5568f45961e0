from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from forge.base.errors import UsageError
from forge.cli.output import Output
from forge.shell.pager import paged, pager_command, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
TALL = "".join(f"line {number}\n" for number in range(100))
SHORT = "one\ntwo\n"


class Terminal(io.StringIO):
    """What a person sees, as text."""

    def isatty(self) -> bool:
        return True


class Screen:
    """A terminal of 24 rows, with a pager that keeps what it was given."""

    def __init__(self, folder: Path) -> None:
        self.seen = folder / "seen"
        self.environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "PAGER": str(folder / "pager")}
        self.terminal = Terminal()
        self.errors = io.StringIO()
        self.output = Output(self.terminal, self.errors, colour=True)
        program = folder / "pager"
        program.write_text(f"#!/bin/sh\ncat >> {self.seen}\n")
        program.chmod(0o755)

    @property
    def paged(self) -> str:
        """What the pager got."""
        return self.seen.read_text() if self.seen.exists() else ""

    @property
    def printed(self) -> str:
        """What went to the terminal."""
        return self.terminal.getvalue()


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Screen(tmp_path)


def test_tall_text_is_paged_and_short_text_is_printed(screen: Screen) -> None:
    with paged(screen.output, screen.environ) as output:
        output.write(TALL)
    assert (screen.paged, screen.printed) == (TALL, "")
    with paged(screen.output, screen.environ) as output:
        output.write(SHORT)
    assert (screen.paged, screen.printed) == (TALL, SHORT)


@pytest.mark.parametrize(("lines", "expected"), [(22, False), (23, False), (24, True)])
def test_what_fits_above_the_prompt_is_printed(screen: Screen, lines: int, expected: object) -> None:
    with paged(screen.output, screen.environ) as output:
        output.write("x\n" * lines)
    assert bool(screen.paged) is expected
    assert bool(screen.printed) is not expected


def test_what_is_written_in_pieces_counts_as_one(screen: Screen) -> None:
    with paged(screen.output, screen.environ) as output:
        for line in TALL.splitlines():
            output.write(line)
    assert (screen.paged, screen.printed) == (TALL, "")


def test_wide_lines_are_no_reason_unless_they_fill_the_screen(screen: Screen) -> None:
    with paged(screen.output, screen.environ) as output:
        output.write("x" * 800)
    assert screen.paged == ""
    with paged(screen.output, screen.environ) as output:
        output.write("x" * 8000)
    assert len(screen.paged) == 8001


def test_colours_stay_and_take_no_room(screen: Screen) -> None:
    with paged(screen.output, screen.environ) as output:
        assert output.colour
        output.write("a: 1\n" * 30, ".yaml")
    assert "\x1b[" in screen.paged
    assert rows("\x1b[31m" + "x" * 80 + "\x1b[0m", 80) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 1),
        ("a\n", 2),
        ("x" * 80, 1),
        ("x" * 81, 2),
        ("日" * 40, 1),
        ("日" * 41, 2),
        ("e\u0301" * 80, 1),
        ("\t" * 10, 1),
        ("\t" * 11, 2),
    ],
)
def test_rows_are_those_of_the_screen(text: str, expected: int) -> None:
    assert rows(text, 80) == expected


def test_a_flush_prints_at_once_for_what_follows_from_elsewhere(screen: Screen) -> None:
    with paged(screen.output, screen.environ) as output:
        output.write(SHORT)
        assert screen.printed == ""
        output.flush()
        assert screen.printed == SHORT
        output.write(TALL)
        output.flush()
        assert (screen.paged, screen.printed) == (TALL, SHORT)


def test_errors_come_behind_what_was_printed_before_them(screen: Screen) -> None:
    order: list[str] = []
    screen.terminal.write = lambda text: order.append(text) or len(text)  # type: ignore[method-assign]
    screen.errors.write = lambda text: order.append(text) or len(text)  # type: ignore[method-assign]
    with paged(screen.output, screen.environ) as output:
        output.write("result")
        output.note("and a note")
        output.error(UsageError("wrong"))
    assert [text for text in order if text] == ["result\n", "and a note\n", "error: wrong\n"]


@pytest.mark.parametrize(
    "changes",
    [
        {"TERM": "dumb"},
        {"TERM": ""},
        {"PAGER": "cat"},
        {"PAGER": "/bin/cat -n"},
        {"PAGER": ""},
        {"PAGER": "'"},
        {"PAGER": "/nosuch"},
    ],
)
def test_where_nobody_wants_a_pager_text_is_printed(screen: Screen, changes: dict[str, str]) -> None:
    with paged(screen.output, {**screen.environ, **changes}) as output:
        output.write(TALL)
    assert (screen.paged, screen.printed) == ("", TALL)


def test_what_is_no_terminal_is_not_paged(screen: Screen) -> None:
    stream = io.StringIO()
    plain = Output(stream, screen.errors)
    with paged(plain, screen.environ) as output:
        assert output is plain
        output.write(TALL)
    assert (screen.paged, stream.getvalue()) == ("", TALL)


def test_a_pager_that_cannot_be_started_is_done_without(screen: Screen) -> None:
    Path(screen.environ["PAGER"]).write_text("#!/nosuch/interpreter\n")
    with paged(screen.output, screen.environ) as output:
        output.write(TALL)
    assert screen.printed == TALL


def test_a_pager_that_is_left_early_is_no_error(screen: Screen) -> None:
    Path(screen.environ["PAGER"]).write_text("#!/bin/sh\nhead -c 1 > /dev/null\nexit 3\n")
    with paged(screen.output, screen.environ) as output:
        output.write("x\n" * 2_000_000)  # more than a pipe holds
    assert screen.printed == ""


def test_what_a_verb_printed_before_it_failed_is_shown(screen: Screen) -> None:
    def fail() -> None:
        with paged(screen.output, screen.environ) as output:
            output.write(SHORT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert screen.printed == SHORT


def test_it_works_outside_of_the_main_thread(screen: Screen) -> None:
    def work() -> None:
        with paged(screen.output, screen.environ) as output:
            output.write(TALL)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert screen.paged == TALL


def test_less_is_taken_when_nothing_is_named_and_its_variable_is_the_users(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    less = tmp_path / "bin" / "less"
    less.write_text(f'#!/bin/sh\necho "$@" "$LESS" "$LESSSECURE" >> {tmp_path}/called\ncat > /dev/null\n')
    less.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert pager_command({"PATH": path}) == [str(less), "-R"]
    assert pager_command({"PATH": str(tmp_path)}) is None
    for more in ({}, {"LESS": "-FX"}, {"PAGER": "less"}):
        with paged(screen.output, {"PATH": path, "TERM": "xterm", **more}) as output:
            output.write(TALL)
    prompt = "FRXKPs?eThe end, q goes back:q goes back, space goes on.$"
    assert (tmp_path / "called").read_text().splitlines() == [f"-R {prompt} 1", "-R -FX 1", f"{prompt} 1"]


# ---- a real terminal


@pytest.fixture
def opened() -> Iterator[Callable[..., str]]:
    """Runs a program on a terminal of 24 rows and returns what came to its screen."""
    ends: list[int] = []

    def run(source: str, typed: bytes = b"", **changes: str) -> str:
        here, there = pty.openpty()
        ends.append(here)
        environ = {**os.environ, "LINES": "24", "COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": str(ROOT), **changes}
        process = subprocess.Popen(
            [sys.executable, "-c", source], stdin=there, stdout=there, stderr=there, env=environ, start_new_session=True
        )
        os.close(there)
        if typed:
            os.write(here, typed)
        seen = b""
        while True:
            try:
                piece = os.read(here, 65536)
            except OSError:  # the terminal has nobody left
                break
            if not piece:
                break
            seen += piece
        assert process.wait(60) == 0
        return seen.decode()

    yield run
    for end in ends:
        os.close(end)


_PROGRAM = """
from forge.cli.output import standard_output
from forge.shell.pager import paged
import subprocess
with paged(standard_output()) as output:
    output.write("a: 1\\n" * 40, ".yaml")
    output.flush()
    subprocess.run(["echo", "the child's own line"], check=True)
print("behind it")
"""


def test_the_real_less_is_left_with_q_and_children_print_for_themselves(opened: Callable[..., str]) -> None:
    if pager_command({"PATH": os.environ["PATH"]}) is None:
        pytest.skip("there is no less here")
    shown = opened(_PROGRAM, b"q", PAGER="less", LESS="R", NO_COLOR="")
    assert shown.count("the child's own line\r\n") == 1
    assert shown.rstrip().endswith("behind it")
    assert "\x1b[36ma" in shown  # the colour of a key
    assert shown.count("1") < 40  # one screen of it


def test_the_real_less_says_how_it_is_left_and_writes_no_file(
    opened: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pager_command({"PATH": os.environ["PATH"]}) is None:
        pytest.skip("there is no less here")
    monkeypatch.delenv("LESS", raising=False)
    monkeypatch.delenv("LESSSECURE", raising=False)
    shown = opened(_PROGRAM, f"s{tmp_path}/written\r  q".encode(), PAGER="less")
    assert "q goes back, space goes on" in shown
    assert "The end, q goes back" in shown
    assert shown.rstrip().endswith("behind it")
    assert not (tmp_path / "written").exists()


def test_ctrl_c_belongs_to_the_pager(opened: Callable[..., str], tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\ntrap "" INT\nkill -INT $PPID\ncat > /dev/null\necho paged\n')
    pager.chmod(0o755)
    assert opened(_PROGRAM, PAGER=str(pager)).splitlines() == ["paged", "the child's own line", "behind it"]


def test_the_rest_of_the_stream_is_the_terminals(screen: Screen) -> None:
    with paged(screen.output, screen.environ) as output:
        stream: TextIO = output.stream
        assert stream.isatty()
        assert stream.getvalue() == ""  # type: ignore[attr-defined]
