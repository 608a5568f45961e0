"""Long output goes through a pager: only what is taller than the screen, and only on a terminal.

What verbs print is held back until they flush it: short text is printed then, tall text is given to ``$PAGER`` or to ``less``.
A verb that starts another process flushes first, and what that process prints goes to the terminal as it comes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import unicodedata
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from forge.cli.output import Output

__all__ = ["paged", "pager_command", "rows"]

_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
_TAB: Final = 8
_LESS: Final = "FRXKPs?eThe end, q goes back:q goes back, space goes on.$"
"""What `less` does where nobody has set it: one screen needs no key, colours are shown as colours, what was read stays above the
next prompt, Ctrl-C leaves as q does, and the last line says so. It writes no files and starts no programs.
"""


@contextmanager
def paged(output: Output, environ: Mapping[str, str] | None = None) -> Iterator[Output]:
    """An output for verbs that pages what is too tall; where there is nothing to page with, the same output."""
    environ = os.environ if environ is None else environ
    command = pager_command(environ) if output.stream.isatty() and environ.get("TERM", "") not in {"", "dumb"} else None
    if command is None:
        yield output
        return
    held = _Held(output.stream, command, environ)
    try:
        yield replace(output, stream=cast("TextIO", held), errors=cast("TextIO", _After(held, output.errors)))
    finally:
        held.flush()


def pager_command(environ: Mapping[str, str]) -> list[str] | None:
    """The pager as a command: what ``$PAGER`` says, else ``less``; None where paging is not wanted or not there."""
    try:
        words = shlex.split(environ.get("PAGER", "less -R"))
    except ValueError:
        return None
    if not words or os.path.basename(words[0]) == "cat":
        return None
    program = shutil.which(words[0], path=environ.get("PATH"))
    return [program, *words[1:]] if program is not None else None


def rows(text: str, columns: int) -> int:
    """How many rows of a screen a text takes; colours take no place, and some letters take two."""
    return sum(max(1, -(-_width(line) // max(columns, 1))) for line in text.split("\n"))


def _width(line: str) -> int:
    line = _COLOUR.sub("", line).expandtabs(_TAB)
    if line.isascii():
        return len(line)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in line
    )


class _Held:
    """A terminal that keeps what is written to it until it is flushed."""

    def __init__(self, terminal: TextIO, command: list[str], environ: Mapping[str, str]) -> None:
        self._terminal = terminal
        self._command = command
        self._environ = environ
        self._parts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)

    def write(self, text: str) -> int:
        self._parts.append(text)
        return len(text)

    def flush(self) -> None:
        text = "".join(self._parts)
        self._parts.clear()
        size = shutil.get_terminal_size()
        if rows(text, size.columns) <= size.lines or not _through(self._command, text, self._environ):
            self._terminal.write(text)
        self._terminal.flush()


class _After:
    """The stream of errors, which come behind what was printed before them."""

    def __init__(self, held: _Held, errors: TextIO) -> None:
        self._held = held
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._errors, name)

    def write(self, text: str) -> int:
        self._held.flush()
        return self._errors.write(text)


def _through(command: list[str], text: str, environ: Mapping[str, str]) -> bool:
    """Give a text to the pager and wait for its end; False when it cannot be started. One that is left early is no error."""
    environ = {"LESS": _LESS, "LESSSECURE": "1", **environ}
    with _ctrl_c_is_the_pagers():
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ, bufsize=0)  # noqa: S603 - the user's own pager
        except OSError:
            return False
        with process:
            assert process.stdin is not None  # noqa: S101 - it was asked for
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                data = memoryview(text.encode(errors="replace"))
                while data:
                    data = data[pipe.write(data) :]
    return True


@contextmanager
def _ctrl_c_is_the_pagers() -> Iterator[None]:
    """Let Ctrl-C reach the pager alone, which ends, or ends a search. A signal that is ignored would be so in the pager too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
