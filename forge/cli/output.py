"""Where a verb's result goes: the terminal (coloured when it is one), a file, or the user's editor."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

from forge.base.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.base.errors import ForgeError

__all__ = ["Output", "standard_output"]

_LEXERS: Final = {".yaml": "YamlLexer", ".py": "PythonLexer", ".json": "JsonLexer", ".diff": "DiffLexer"}
_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Output:
    """A pair of streams and whether each takes colours."""

    stream: TextIO
    errors: TextIO
    colour: bool = False
    error_colour: bool = False

    def write(self, text: str, suffix: str = "") -> None:
        """Print a text, ended by one newline; the suffix of a file it could stand in says how to colour it."""
        text = text if text.endswith("\n") else text + "\n"
        try:
            self.stream.write(_coloured(text, suffix) if self.colour and suffix in _LEXERS else text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileError(f"cannot write the output: {error.strerror}") from error

    def flush(self) -> None:
        """Hand everything printed so far to the system; a full disk shows here."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileError(f"cannot write the output: {error.strerror}") from error

    def note(self, text: str) -> None:
        """Tell the user something that is not part of the result."""
        self.errors.write(text + "\n")

    def error(self, error: ForgeError) -> None:
        """Show an error: at most three lines, the first begins with ``error:``."""
        self.note(f"{_RED}error:{_PLAIN} {error}" if self.error_colour else f"error: {error}")


def standard_output(environ: Mapping[str, str] | None = None) -> Output:
    """The streams of this process; closed ones are replaced by one that drops everything."""
    environ = os.environ if environ is None else environ
    plain = bool(environ.get("NO_COLOR")) or environ.get("TERM", "") in {"", "dumb"}
    stream, errors = (_open_stream(stream) for stream in (sys.stdout, sys.stderr))
    return Output(stream, errors, not plain and stream.isatty(), not plain and errors.isatty())


def _open_stream(stream: TextIO | None) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without Unicode gets ? for a line, not a traceback
    return stream if stream is not None else open(os.devnull, "w", encoding="utf-8")


def _coloured(text: str, suffix: str) -> str:
    from pygments import highlight, lexers  # noqa: PLC0415 - only a terminal needs colours
    from pygments.formatters.terminal import TerminalFormatter  # noqa: PLC0415 - as above

    lexer = getattr(lexers, _LEXERS[suffix])(stripnl=False, ensurenl=False)
    return str(highlight(text, lexer, TerminalFormatter()))
