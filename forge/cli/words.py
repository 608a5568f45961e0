"""Splits what a person types into words: blanks separate, quotes and backslashes hold together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Word", "scan"]

_BREAKS = ";\n"


class Word(NamedTuple):
    """A word as it is meant, where it stands in the line, and the quote that is still open at its end."""

    text: str
    start: int
    end: int
    open_quote: str = ""
    quoted: bool = False

    @property
    def breaks(self) -> bool:
        """Whether it ends a command and is not part of one: a semicolon or the end of a line."""
        return not self.quoted and self.text in {";", "\n"}


def scan(line: str, at: int = 0) -> Iterator[Word]:
    """The words from a position of a text that may be unfinished; a semicolon and the end of a line are words of their own."""
    while at < len(line):
        letter = line[at]
        if letter in _BREAKS:
            yield Word(letter, at, at + 1)
            at += 1
        elif letter.isspace():
            at += 1
        elif letter == "#":
            at = _line_end(line, at)
        else:
            word = _word(line, at)
            yield word
            at = word.end


def _line_end(line: str, at: int) -> int:
    end = line.find("\n", at)
    return len(line) if end < 0 else end


def _word(line: str, start: int) -> Word:
    letters: list[str] = []
    quote = ""
    quoted = False
    at = start
    while at < len(line):
        letter = line[at]
        if letter == "\\" and quote != "'":
            at += 1
            letters.append(line[at : at + 1])
        elif quote:
            if letter == quote:
                quote = ""
            else:
                letters.append(letter)
        elif letter in "'\"":
            quote, quoted = letter, True
        elif letter.isspace() or letter in _BREAKS:
            break
        else:
            letters.append(letter)
        at += 1
    return Word("".join(letters), start, min(at, len(line)), quote, quoted)
