"""A program in a real pseudo-terminal whose screen is read as a person sees it: letters, colours, the cursor.

`pyte` plays the terminal. What is asked of a screen is waited for by reading, never by sleeping.
"""

from __future__ import annotations

import codecs
import copy
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import pyte
import pyte.modes
from typing_extensions import Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Condition: TypeAlias = "str | re.Pattern[str] | Callable[[Terminal], object]"

TIMEOUT = 30.0
# A session leader that opens a terminal does not get it as its own on every system, so it asks for it.
_LEADER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
_PROMPT = re.compile(r"forge(:\S+)?( \[\S+\])?> \Z")
_ALTERNATE = {47, 1047, 1049}

ENTER, TAB, ESCAPE, BACKSPACE = "\r", "\t", "\x1b", "\x7f"
UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
F4 = "\x1bOS"


def ctrl(letter: str) -> str:
    """The key that Ctrl and a letter make."""
    return chr(ord(letter.upper()) - 64)


class _Screen(pyte.Screen):
    """With the second screen that pagers draw on, and answers for programs that ask where the cursor is."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], None]) -> None:
        self._first: Any = None
        self._answer = answer
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        self._answer(data)

    def select_graphic_rendition(self, *attrs: int, private: bool = False, **_: bool) -> None:
        """Colours and emphasis; sequences of the same ending that mean something else are left alone."""
        if not private:
            super().select_graphic_rendition(*attrs)

    def set_mode(self, *modes: int, **how: bool) -> None:
        """Change modes, and between the two screens."""
        super().set_mode(*modes, **how)
        if self._first is None and how.get("private") and _ALTERNATE & set(modes):
            self._first = copy.deepcopy((self.buffer, self.cursor))
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **how: bool) -> None:
        """Change modes, and back to the first screen."""
        super().reset_mode(*modes, **how)
        if self._first is not None and how.get("private") and _ALTERNATE & set(modes):
            self.buffer, self.cursor = self._first
            self._first = None


class Terminal:
    """A program and its terminal, for a ``with`` block that ends both."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.screen = _Screen(columns, lines, self.send)
        self._stream = pyte.Stream(self.screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = ""
        self._set_size(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LEADER, *command],
            cwd=folder,
            env={**environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        os.close(self._ours)
        self.process.wait(TIMEOUT)

    # ---- keys

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def paste(self, text: str) -> None:
        """Paste a text as terminals do that tell a paste from typing."""
        self.send(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)
        os.killpg(os.tcgetpgrp(self._ours), signal.SIGWINCH)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    # ---- what is seen

    @property
    def rows(self) -> list[str]:
        """The lines of the screen, without blanks at their ends."""
        return [row.rstrip() for row in self.screen.display]

    @property
    def text(self) -> str:
        """The screen."""
        return "\n".join(self.rows).rstrip()

    @property
    def before_cursor(self) -> str:
        """All that stands before the cursor, a line that goes on in the next row in one piece."""
        cursor = self.screen.cursor
        return "".join(self.screen.display[: cursor.y + 1])[: cursor.y * self.screen.columns + cursor.x]

    @property
    def listed(self) -> list[str]:
        """The list of completions: what stands between the cursor and the toolbar."""
        return [row.strip() for row in self.rows[self.screen.cursor.y + 1 : -1] if row.strip()]

    def row_of(self, text: str) -> int:
        """The number of the lowest line that has the text."""
        return max(number for number, row in enumerate(self.rows) if text in row)

    def cells(self, text: str) -> list[Any]:
        """The cells of a text where it stands lowest on the screen: ``fg``, ``bg``, ``bold``, ``reverse`` and so on."""
        row = self.row_of(text)
        start = self.rows[row].rindex(text)
        return [self.screen.buffer[row][column] for column in range(start, start + len(text))]

    def colours(self) -> set[str]:
        """All colours on the screen, letters and grounds."""
        cells = [self.screen.buffer[y][x] for y in range(self.screen.lines) for x in range(self.screen.columns)]
        return {colour for cell in cells for colour in (cell.fg, cell.bg)}

    # ---- waiting

    def until(self, condition: Condition, seconds: float = TIMEOUT) -> Self:
        """Read until the screen has a text, matches a pattern, or is as a function says."""
        end = time.monotonic() + seconds
        while not self._is(condition):
            if not self._read(end - time.monotonic()) and not self._is(condition):
                shown = (
                    condition if isinstance(condition, str) else getattr(condition, "pattern", "what was waited for")
                )
                raise AssertionError(f"{shown!r} did not come; the screen was\n{self.framed()}")
        return self

    def prompt(self, seconds: float = TIMEOUT) -> Self:
        """Read until there is an empty prompt to type at."""
        return self.until(lambda seen: _PROMPT.search(seen.before_cursor), seconds)

    def type(self, text: str, seconds: float = TIMEOUT) -> Self:
        """Press the keys of a text and read until it stands before the cursor."""
        self.send(text)
        return self.until(lambda seen: seen.before_cursor.endswith(text), seconds)

    def run(self, line: str, seconds: float = TIMEOUT) -> Self:
        """Type a line at the prompt and read until the next prompt is there."""
        self.type(line, seconds).send(ENTER)
        return self.prompt(seconds)

    def remembers(self, line: str) -> Self:
        """Read until the shell has read its earlier lines, among them this one, which it then suggests by its first letter."""
        self.type(line[0])
        self.until(lambda seen: seen.rows[seen.screen.cursor.y].endswith(f"> {line}")).send(BACKSPACE)
        return self.prompt()

    def ended(self, seconds: float = TIMEOUT) -> int:
        """Read until the program has ended; its exit code."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        return self.process.wait(max(0.1, end - time.monotonic()))

    def framed(self) -> str:
        """The screen in a frame, for messages."""
        edge = "+" + "-" * self.screen.columns + "+"
        return "\n".join([edge, *(f"|{row}|" for row in self.screen.display), edge])

    def _is(self, condition: Condition) -> bool:
        if isinstance(condition, str):
            return condition in self.text
        if isinstance(condition, re.Pattern):
            return condition.search(self.text) is not None
        return bool(condition(self))

    def _read(self, seconds: float) -> bool:
        """Take what there is; False when nothing came in time, or nothing will come any more."""
        if seconds <= 0 or not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other end is closed
            return False
        text = self._decoder.decode(data)
        self.raw += text
        self._stream.feed(text)
        return bool(data)
