"""What is being typed at a position: a key, a value, an item of a list, or a path inside ``${``.

A word that nobody writes is put where the cursor is, and the text is read: where that word turns up is where the cursor is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from forge.lsp.outline import outline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.paths import Path
    from forge.lsp.outline import Outline, OutlineEntry

__all__ = ["Cursor", "cursor_at"]

_PROBE: Final = "forge_cursor_is_here"
_OPEN_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\Z")
_PREFIX: Final = re.compile(r"\s*(?:-\s+)*")
_KEY: Final = re.compile(r"(?P<key>(?:\"[^\"]*\"|'[^']*'|[^\s#'\"][^#]*?)):\s+(?P<value>.*)\Z")
_CLOSERS: Final = {"{": "}", "[": "]"}


class Cursor(NamedTuple):
    """Where the cursor is: the path of the value or item, or, for a key, of the mapping; and what was typed so far.

    ``column`` is where the typed word begins; ``text`` is the outline of the rest of the text.
    """

    kind: Literal["key", "value", "item", "reference"]
    path: Path
    typed: str
    column: int
    text: Outline
    bare: bool = False  # a key whose colon is not written yet


def cursor_at(text: str, line: int, column: int) -> Cursor | None:
    """What is being typed at a position, counted from 0; None where nothing can be said."""
    lines = text.split("\n")
    if not 0 <= line < len(lines):
        return None
    before, after = lines[line][:column].rstrip("\r"), lines[line][column:].rstrip("\r")
    if _in_comment(before):
        return None
    reference = _OPEN_REFERENCE.search(before)
    if reference is not None and "}" in after:
        after = after[after.index("}") + 1 :].lstrip("'\"")
    for kind, typed, written in _attempts(before, after):
        found = _probed([*lines[:line], written, *lines[line + 1 :]])
        if found is None:
            continue
        entry, read = found
        if reference is not None:
            inside = reference.group(1)
            return Cursor("reference", entry.path, inside, len(before) - len(inside), read)
        at = entry.path if kind != "key" else entry.path[:-1]
        return Cursor(kind, at, typed, len(before) - len(typed), read, bare=":" not in after)
    return None


def _in_comment(before: str) -> bool:
    return re.search(r"(?:^|\s)#", re.sub(r"\"[^\"]*\"|'[^']*'", "", before)) is not None


def _attempts(before: str, after: str) -> Iterator[tuple[Literal["key", "value", "item"], str, str]]:
    """Ways to put the probe into a line, the likeliest first: what it would be, what was typed, and the line."""
    head, segment, closers = _open_part(before)
    # What stands behind the cursor is kept where it closes what was opened before it.
    rest = after if closers and after.strip()[:1] in {"}", "]", ","} else closers
    value = _KEY.match(segment)
    if value is not None:
        typed = value.group("value")
        yield "value", typed.lstrip("'\""), before[: len(before) - len(typed)] + _PROBE + rest
        return
    typed = segment
    if head.rstrip().endswith(("-", "[")) or (closers[:1] == "]" and head.rstrip().endswith(",")):
        yield "item", typed.lstrip("'\""), head + _PROBE + rest
        return
    own = after if after.lstrip().startswith(":") or ":" in after else f": {rest}"
    yield "key", typed, head + _PROBE + re.sub(r"^[^\s:,}\]]*", "", own, count=1)
    yield "key", typed, f"{head}{_PROBE}: {rest}"


def _open_part(before: str) -> tuple[str, str, str]:
    """A line up to the key or item that is being typed, that part, and the brackets that would close what is open."""
    stack: list[str] = []
    start = len(_PREFIX.match(before)[0])  # type: ignore[index]
    quote = ""
    position = 0
    while position < len(before):
        letter = before[position]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and before[position - 1 : position] in {"", " ", "[", "{", ","}:
            quote = letter
        elif before.startswith("${", position):
            position = before.find("}", position) if "}" in before[position:] else len(before)
        elif letter in _CLOSERS:
            stack.append(_CLOSERS[letter])
            start = position + 1
        elif letter == "," and stack:
            start = position + 1
        elif stack and letter == stack[-1]:
            stack.pop()
        position += 1
    segment = before[start:]
    spaces = len(segment) - len(segment.lstrip())
    return before[: start + spaces], segment[spaces:], "".join(reversed(stack))


def _probed(lines: list[str]) -> tuple[OutlineEntry, Outline] | None:
    """The value that holds the probe as its key or text, in the outline of a text."""
    read = outline("\n".join(lines))
    for entry in read.entries:
        if (entry.path and entry.path[-1] == _PROBE) or (entry.kind == "scalar" and _PROBE in entry.text):
            return entry, read
    return None
