"""Whether a plain config value fits an annotation, where that can be said for sure.

An annotation is kept as text and read here by a small parser of its own, so that a check whose signatures are cached
never pays for the ``ast`` module.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Wanted", "fits", "wanted"]

# What a value is known to be: a plain value, or the kind of a node.
_Kind: TypeAlias = str

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>[rbuRBU]?'(?:[^'\\]|\\.)*'|[rbuRBU]?\"(?:[^\"\\]|\\.)*\")|(?P<number>-?\d[\d_.eE+-]*)"
    r"|(?P<name>[A-Za-z_][\w.]*)|(?P<mark>[\[\],|()])|(?P<dots>\.\.\.))"
)
_PLAIN: Final = {
    "int": "int",
    "str": "str",
    "bool": "bool",
    "float": "float",
    "None": "None",
    "NoneType": "None",
    "list": "list",
    "List": "list",
    "dict": "dict",
    "Dict": "dict",
}
_DEEPEST: Final = 20


class Wanted(NamedTuple):
    """What an annotation admits: kinds of values and literal values."""

    kinds: frozenset[_Kind]
    literals: tuple[object, ...] = ()

    def __or__(self, other: object) -> Wanted:
        """Either of two."""
        if not isinstance(other, Wanted):
            return NotImplemented
        return Wanted(self.kinds | other.kinds, self.literals + other.literals)


@lru_cache(maxsize=4096)
def wanted(annotation: str) -> Wanted | None:
    """What an annotation admits when it is made only of plain types and literals; None when that cannot be told."""
    text = annotation.strip()
    if text in _PLAIN:
        return Wanted(frozenset({_PLAIN[text]}))
    tokens = _tokens(text)
    if not tokens:
        return None
    parser = _Parser(tokens)
    try:
        found = parser.union(0)
    except _CannotTellError:
        return None
    return found if parser.position == len(tokens) else None


def fits(admitted: Wanted, kind: _Kind, value: object = None) -> bool:
    """Whether a value of a kind is admitted; an int is a float too, and a bool is an int too."""
    if kind in admitted.kinds:
        return True
    if kind == "int" and ("float" in admitted.kinds or ("bool" in admitted.kinds and value in (0, 1))):
        return True
    if kind == "bool" and ("int" in admitted.kinds or "float" in admitted.kinds):
        return True
    return any(type(literal) is type(value) and literal == value for literal in admitted.literals)


class _CannotTellError(Exception):
    """The annotation holds something that is not a plain type."""


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return []
        found.append((match.lastgroup or "", match.group(match.lastgroup or 0)))
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.position = 0

    def next(self) -> tuple[str, str]:
        if self.position >= len(self.tokens):
            raise _CannotTellError
        self.position += 1
        return self.tokens[self.position - 1]

    def has(self, mark: str) -> bool:
        if self.position < len(self.tokens) and self.tokens[self.position] == ("mark", mark):
            self.position += 1
            return True
        return False

    def union(self, depth: int) -> Wanted:
        if depth > _DEEPEST:
            raise _CannotTellError
        found = self.one(depth)
        while self.has("|"):
            found |= self.one(depth)
        return found

    def one(self, depth: int) -> Wanted:
        kind, text = self.next()
        if kind == "text":
            quoted = wanted(_unquoted(text))  # a forward reference: 'int | None'
            if quoted is None:
                raise _CannotTellError
            return quoted
        if kind != "name":
            raise _CannotTellError
        name = text.rpartition(".")[2]
        if name in {"Optional", "Union"} and self.has("["):
            found = self.listed(depth)
            return found | Wanted(frozenset({"None"})) if name == "Optional" else found
        if name == "Literal" and self.has("["):
            return self.literals()
        if name not in _PLAIN:
            raise _CannotTellError
        if self.has("["):
            self.skip()
        return Wanted(frozenset({_PLAIN[name]}))

    def listed(self, depth: int) -> Wanted:
        found = self.union(depth + 1)
        while self.has(","):
            found |= self.union(depth + 1)
        if not self.has("]"):
            raise _CannotTellError
        return found

    def literals(self) -> Wanted:
        values: list[object] = []
        kinds: set[_Kind] = set()
        while not self.has("]"):
            kind, text = self.next()
            if text == "None":
                kinds.add("None")
            elif kind == "text" and text[0] in "'\"":
                values.append(_unquoted(text))
            elif kind == "number" and text.lstrip("-").isdigit():
                values.append(int(text))
            elif text in {"True", "False"}:
                values.append(text == "True")
            else:
                raise _CannotTellError
            if not self.has(",") and self.tokens[self.position : self.position + 1] != [("mark", "]")]:
                raise _CannotTellError
        return Wanted(frozenset(kinds), tuple(values))

    def skip(self) -> None:
        """The rest of a bracket: ``list[int]`` is a list, whatever its items are."""
        open_brackets = 1
        while open_brackets:
            mark = self.next()
            open_brackets += (mark == ("mark", "[")) - (mark == ("mark", "]"))


def _unquoted(text: str) -> str:
    if "\\" in text:
        raise _CannotTellError
    return text[1:-1]
