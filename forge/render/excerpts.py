"""The source lines that values come from: few, short, and never one that could hold a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.base.files import read_bounded
from forge.base.secrets import MASK, is_secret_name
from forge.render.label import elided, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge.base.origin import Origin

__all__ = ["excerpts", "names_secret"]

_MOST_FILES: Final = 1_000
_MOST_BYTES: Final = 8 * 1024 * 1024  # as much as a config may have
_LONGEST_LINE: Final = 200
_SUFFIXES: Final = (".yaml", ".yml")

_LINE_END: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # the line breaks of YAML, by which origins count
_WORD: Final = re.compile(r"[\w\-.]+")
_NEXT_ENTRY: Final = re.compile(r"\s*(?:- |[\w\"'.\-/@]+\s*:(?:\s|\Z))")


def excerpts(shown: Iterable[Origin], secret: Iterable[Origin]) -> dict[tuple[str, int], str]:
    """The text of the line of each origin, by file and line; lines at or below a ``secret`` origin are left out.

    Only YAML files are read. A file that cannot be read, or is too large, has no lines.
    """
    wanted: dict[str, set[int]] = {}
    for origin in shown:
        if origin.line > 0 and origin.file.endswith(_SUFFIXES):
            wanted.setdefault(origin.file, set()).add(origin.line)
    unsafe: dict[str, set[int]] = {}
    for origin in secret:
        unsafe.setdefault(origin.file, set()).add(origin.line)
    found: dict[tuple[str, int], str] = {}
    for file in list(wanted)[:_MOST_FILES]:
        lines = _lines(file)
        hidden = _hidden(lines, unsafe.get(file, set()))
        for number in wanted[file] - hidden:
            if number <= len(lines) and not names_secret(lines[number - 1]):
                found[file, number] = elided(printable(lines[number - 1].expandtabs(2).strip()), _LONGEST_LINE)
    return found


def names_secret(text: str) -> bool:
    """Whether a word of a text is the name of a secret whose value is not masked there."""
    return MASK not in text and any(is_secret_name(word) for word in _WORD.findall(text))


def _lines(file: str) -> list[str]:
    try:
        return _LINE_END.split(read_bounded(file, _MOST_BYTES).decode("utf-8-sig", "replace"))
    except ForgeError:  # the picture is whole without it
        return []


def _hidden(lines: list[str], secret: set[int]) -> set[int]:
    """The numbers of secret lines, each with the lines below it up to the next entry: the value may go on there."""
    hidden = set(secret)
    for number in secret:
        below = number + 1
        while below <= len(lines) and not _NEXT_ENTRY.match(lines[below - 1]):
            hidden.add(below)
            below += 1
    return hidden
