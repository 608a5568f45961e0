"""Paths of config values: tuples of keys inside, dotted text outside."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

__all__ = ["Key", "Path", "dotted", "parse_dotted"]

Key: TypeAlias = "str | int | float | bool | None"
Path: TypeAlias = "tuple[Key, ...]"

_PLAIN = re.compile(r"[^\s.\[\]'\"]+\Z")
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_STEP = re.compile(rf"\.?(?:\[(?:(-?\d+)|({_QUOTED}|[^\[\]'\"]+))\]|([^.\[\]]+))")


def dotted(path: Path) -> str:
    """``("a", "b", 0)`` as ``a.b[0]``; keys that are not plain words are quoted in brackets."""
    parts: list[str] = []
    for key in path:
        if isinstance(key, str) and _PLAIN.match(key):
            parts.append(f".{key}" if parts else key)
        else:
            parts.append(f"[{key!r}]")
    return "".join(parts)


@lru_cache(maxsize=4096)
def parse_dotted(text: str) -> Path:
    """The inverse of `dotted`; also reads ``a.0.b`` with the number kept as text. Raises ValueError on other text."""
    path: list[Key] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(text)
        index, literal, word = match.groups()
        path.append(int(index) if index is not None else word if word is not None else _key(literal))
        position = match.end()
    return tuple(path)


def _key(literal: str) -> Key:
    """A key as `repr` wrote it; words in brackets that are no literal are taken as they are, as OmegaConf does."""
    import ast  # needed for unusual keys only

    try:
        key = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        if literal[0] in "'\"":
            raise ValueError(literal) from None
        return literal
    if not isinstance(key, (str, int, float, bool, type(None))):
        raise ValueError(literal)  # noqa: TRY004 - it is the text that does not parse
    return key
