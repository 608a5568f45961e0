"""Text with styles for a terminal: wrapped by the cells it takes, in colour or with plain marks, beside another text."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Style", "StyledLine", "StyledText", "beside", "cells", "painted", "visible", "with_marks", "wrapped"]

Style = Literal[
    "plain",
    "head",
    "dim",
    "context",
    "context_odd",
    "learned",
    "learned_odd",
    "special",
    "special_learned",
    "lost",
    "bar",
]
StyledText = tuple[str, Style]
"""A text and its style."""

StyledLine = list[StyledText]
"""One line of a terminal."""

_MARKS: Final = ("⟦", "⟧")
_SHORT: Final = 20
_LEARNED: Final = {"learned", "learned_odd", "special_learned"}
_CODES: Final[dict[Style, str]] = {
    "head": "1",
    "dim": "2",
    "context": "2",
    "context_odd": "90",
    "learned": "32",
    "learned_odd": "92",
    "special": "36",
    "special_learned": "1;32",
    "lost": "31",
    "bar": "34",
}
_PICTURES: Final = (
    {number: 0x2400 + number for number in range(32)}
    | {
        0x7F: 0x2421,
        0x0A: "↵\n",
        0x09: "⇥",
        0x0D: "␍",
        0xFEFF: "�",
    }
    | dict.fromkeys((*range(128, 160), *range(8234, 8239), *range(8294, 8298)), "�")
)


def visible(text: str) -> str:
    """The text with pictures for the characters that a terminal would act upon; a line ends behind its ``↵``."""
    return text.translate(_PICTURES)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(runs: Iterable[StyledText], width: int) -> list[StyledLine]:
    """Runs as lines of at most so many cells; a newline in them ends a line. Where there is a space, a line breaks behind it."""
    lines: list[StyledLine] = [[]]
    room = width
    for text, style in runs:
        for number, row in enumerate(text.split("\n")):
            if number:
                lines.append([])
                room = width
            rest = row
            while rest:
                size = _fitting(rest, room)
                # A short run, such as a token, is not torn apart at the end of a line.
                if size < len(rest) and room < width and (not size or cells(rest) <= _SHORT):
                    size = 0
                if size:
                    lines[-1].append((rest[:size], style))
                    room -= cells(rest[:size])
                    rest = rest[size:]
                if rest:
                    lines.append([])
                    room = width
    return lines


def _fitting(text: str, room: int) -> int:
    """How many characters of a text fit, up to a space where one is in the second half."""
    if cells(text) <= room:
        return len(text)
    size = used = 0
    for character in text:
        used += _cells_of(character)
        if used > room:
            break
        size += 1
    space = text.rfind(" ", size // 2, size)
    return space + 1 if space >= 0 else size


def with_marks(runs: Iterable[StyledText]) -> Iterator[StyledText]:
    """The runs with marks where what is learned begins and ends, for a terminal without colours."""
    inside = False
    for text, style in runs:
        learned = style in _LEARNED
        if learned != inside:
            yield _MARKS[inside], "plain"
            inside = learned
        yield text, style
    if inside:
        yield _MARKS[True], "plain"


def painted(line: Sequence[StyledText], *, colour: bool) -> str:
    """A line as it is printed: with the codes of its colours, or without."""
    if not colour:
        return "".join(text for text, _ in line)
    return "".join(f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style in _CODES else text for text, style in line)


def beside(left: Sequence[StyledLine], right: Sequence[StyledLine], width: int) -> list[StyledLine]:
    """Two texts in columns, the left one so many cells wide."""
    found = []
    for number in range(max(len(left), len(right))):
        line = list(left[number]) if number < len(left) else []
        gap = width - sum(cells(text) for text, _ in line)
        other = right[number] if number < len(right) else []
        found.append([*line, (" " * gap + " │ ", "dim"), *other])
    return found
