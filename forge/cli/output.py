"""Where a verb's result goes: the terminal (coloured when it is one), a file, or the user's editor."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

from forge.base.errors import FileError
from forge.base.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.base.errors import ForgeError

__all__ = ["Output", "drop_stream", "standard_output"]

_LEXERS: Final = {".yaml": "YamlLexer", ".py": "PythonLexer", ".json": "JsonLexer", ".diff": "DiffLexer"}
# Each can be read on light and on dark: neither yellow nor blue, nor what is bright.
_COLOURS: Final = {
    "": "",
    "Keyword": "magenta",
    "Operator.Word": "magenta",
    "Name.Tag": "cyan",
    "Name.Builtin": "cyan",
    "Name.Class": "*cyan*",
    "Name.Function": "*cyan*",
    "Name.Variable": "magenta",
    "Literal.String": "green",
    "Literal.Number": "magenta",
    "Generic.Heading": "**",
    "Generic.Inserted": "green",
    "Generic.Deleted": "red",
    "Error": "red",
}
_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_LONGEST: Final = 1000
_HEAD: Final = 700
_TAIL: Final = 200


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
        if self.stream.isatty():  # a pipe gets the text as it is
            text = harmless(text)
        try:
            self.stream.write(_coloured(text, suffix) if self.colour and suffix in _LEXERS else text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def flush(self) -> None:
        """Hand everything printed so far to the system; a full disk shows here."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> FileError:
        drop_stream(self.stream)
        return FileError(f"cannot write the output: {error.strerror}")

    def note(self, text: str) -> None:
        """Tell the user something that is not part of the result; where nobody can be told, nothing happens."""
        try:
            self.errors.write(harmless(text) + "\n")
            self.errors.flush()
        except OSError:
            drop_stream(self.errors)

    def error(self, error: ForgeError) -> None:
        """Show an error: at most three lines, the first begins with ``error:``."""
        text = "\n".join(map(_shortened, str(error).splitlines()))
        self.note(f"{_RED}error:{_PLAIN} {text}" if self.error_colour else f"error: {text}")


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


def drop_stream(stream: TextIO) -> None:
    """Send the rest of a stream nowhere: the interpreter would complain at its end about what cannot be written."""
    with contextlib.suppress(OSError, ValueError):  # a stream in memory has no number
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_HEAD]} ... {line[-_TAIL:]}"


def _coloured(text: str, suffix: str) -> str:
    from pygments import highlight, lexers  # only a terminal needs colours
    from pygments.formatters.terminal import TerminalFormatter
    from pygments.token import string_to_tokentype

    lexer = getattr(lexers, _LEXERS[suffix])(stripnl=False, ensurenl=False)
    scheme = {string_to_tokentype(kind): (colour, colour) for kind, colour in _COLOURS.items()}
    return str(highlight(text, lexer, TerminalFormatter(colorscheme=scheme)))
