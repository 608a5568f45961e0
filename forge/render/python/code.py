"""Pieces of Python source, and how they are put on lines.

Every piece is made by a function that checks or quotes what it is given, so no key and no value of a config can end up
as anything but the name or the literal it is.
"""

from __future__ import annotations

import builtins
import keyword
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from forge.base.errors import GraphError
from forge.base.secrets import MASK, Secret
from forge.render.label import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Atom",
    "Code",
    "Group",
    "Item",
    "argument",
    "comment",
    "identifier",
    "is_identifier",
    "is_taken",
    "literal",
    "written",
]

_WIDTH: Final = 100
_INDENT: Final = "    "
_LONGEST_DECIMAL: Final = 4000  # bits; Python refuses to read or write longer decimal numbers than 4300 digits
_BUILTINS: Final = frozenset(dir(builtins))
_DUNDER: Final = re.compile(r"__.*__\Z")


@dataclass(frozen=True, slots=True)
class Atom:
    """Source text that is never broken: a name, a literal."""

    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One element between brackets: what stands before it (``lr=``), the element, and a comment behind it."""

    code: Code
    before: str = ""
    comment: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Elements between brackets, on one line when they fit, otherwise one a line."""

    opening: str
    items: tuple[Item, ...]
    closing: str

    @property
    def pinned(self) -> bool:
        """Whether a comment inside has to be kept, so that the group cannot be one line."""
        return any(item.pinned or (isinstance(item.code, Group) and item.code.pinned) for item in self.items)


Code: TypeAlias = "Atom | Group"


def is_identifier(word: object) -> bool:
    """Whether Python reads the word as this very name; Python normalizes letters and keeps some words for itself."""
    return (
        isinstance(word, str)
        and word.isidentifier()
        and not keyword.iskeyword(word)
        and word != "__debug__"
        and unicodedata.normalize("NFKC", word) == word
    )


def is_taken(word: str) -> bool:
    """Whether a new name would hide something that every module has."""
    return word in _BUILTINS or keyword.issoftkeyword(word) or _DUNDER.match(word) is not None


def identifier(word: str) -> str:
    """The word, once it is certain that it is a name."""
    if not is_identifier(word):
        raise GraphError(f"{word!r} is not a Python name")
    return word


def literal(value: object) -> Code:
    """A plain value as Python reads it back."""
    if isinstance(value, (list, tuple)):
        return Group("[", tuple(Item(literal(item)) for item in value), "]")
    if isinstance(value, dict):
        return Group("{", tuple(Item(literal(item), f"{_scalar(key)}: ") for key, item in value.items()), "}")
    return Atom(_scalar(value))


def argument(name: str) -> str:
    """``name=`` in front of an argument."""
    return f"{identifier(name)}="


def comment(text: str) -> str:
    """A comment of one line, whatever the text."""
    return f"# {printable(text)}"


def written(code: Code, before: str = "", note: str = "") -> str:
    """The source of one statement, ``before`` standing in front of it and a comment behind its first line."""
    return "\n".join(_lines(code, before, "", note, ""))


def _scalar(value: object) -> str:
    if isinstance(value, Secret):
        return _string(MASK)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if type(value) is int and value.bit_length() > _LONGEST_DECIMAL:
        return f"{'-' if value < 0 else ''}0x{abs(value):X}"
    if value is None or isinstance(value, (bool, int, float, bytes)):
        return repr(value)
    raise GraphError(f"a {type(value).__name__} cannot be written as Python")


def _string(value: str) -> str:
    """The string's own repr, with double quotes where that changes nothing else."""
    text = repr(value)
    return f'"{text[1:-1]}"' if '"' not in value and "'" not in value else text


def _lines(code: Code, before: str, after: str, note: str, indent: str) -> Iterator[str]:
    flat = f"{indent}{before}{_flat(code)}{after}"
    behind = f"  {note}" if note else ""
    broken = isinstance(code, Group) and bool(code.items) and (len(flat) > _WIDTH or code.pinned)
    if not broken or isinstance(code, Atom):
        yield flat + behind
        return
    yield f"{indent}{before}{code.opening}{behind}"
    for item in code.items:
        yield from _lines(item.code, item.before, ",", item.comment, indent + _INDENT)
    yield f"{indent}{code.closing}{after}"


def _flat(code: Code) -> str:
    if isinstance(code, Atom):
        return code.text
    return f"{code.opening}{', '.join(_flat_items(code.items))}{code.closing}"


def _flat_items(items: Iterable[Item]) -> Iterator[str]:
    return (f"{item.before}{_flat(item.code)}" for item in items)
