"""Short texts for people: values, names of targets, and places, on one line and without anything unprintable."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final

from forge.base.secrets import MASK, Secret
from forge.graph.node import Call, Const, Expr, Map, Missing, Seq

if TYPE_CHECKING:
    from forge.graph.node import Node

__all__ = ["MISSING_TEXT", "elided", "inline", "key_text", "leaf", "printable", "shown", "tag"]

MISSING_TEXT: Final = "???"
"""What stands where a config leaves a value open."""

_BARE: Final = re.compile(
    r"[^\W\d][\w./@+\-%$:~()=*<>|{}]*(?: [\w./@+\-%$:~()=*<>|{}]+)*\Z|[/.~][\w./@+\-~]*[^\W\d][\w./@+\-~]*\Z"
)
_LONGEST_INT: Final = 1024
_NOT_TEXT: Final = frozenset({"true", "false", "null", "none", "yes", "no", "on", "off", "inf", "nan"})


def shown(value: object, width: int = 60) -> str:
    """A plain value on one line, at most ``width`` characters; secrets are masked, wherever they lie."""
    return elided(_text(value, width), width)


def elided(text: str, width: int) -> str:
    """The text with its middle left out when it is longer than ``width``."""
    if len(text) <= width:
        return text
    tail = max(0, width // 3 - 1)
    return f"{text[: max(1, width - tail - 1)]}…{text[-tail:] if tail else ''}"


def printable(text: str) -> str:
    """The text with every character that would not show, or would move the cursor, written as an escape."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def key_text(key: object) -> str:
    """A key of a mapping, an argument's name, or a position in a list."""
    return printable(key) if isinstance(key, str) else str(key)


def leaf(target: str) -> str:
    """The part of a dotted target that people call it by: ``AdamW``, ``AutoModel.from_config``."""
    parts = target.split(".")
    keep = 2 if len(parts) > 1 and parts[-2].lstrip("_")[:1].isupper() else 1
    return printable(".".join(parts[-keep:]))


def tag(node: Node) -> str:
    """What a node is, when it is not a call: ``partial``, or nothing."""
    return node.mode if isinstance(node, Call) and node.mode == "partial" else ""


def inline(node: Node, width: int = 60) -> str | None:
    """The text of a node that needs no place of its own, or None: plain values, symbols, short lists of them."""
    if isinstance(node, Const):
        return shown(node.value, width)
    if isinstance(node, Expr):
        return shown(node.value, width)
    if isinstance(node, Missing):
        return MISSING_TEXT
    if isinstance(node, Call):
        return elided(printable(node.target), width) if node.mode == "symbol" else None
    if not node.items:
        return "[]" if isinstance(node, Seq) else "{}"
    return None if isinstance(node, Map) else _short_list(node, width)


def _short_list(node: Seq, width: int) -> str | None:
    """A list of plain values in brackets; a list with names of its own is shown item by item."""
    values = []
    for position, edge in enumerate(node.items):
        if edge.key != position or edge.ref or not isinstance(edge.node, (Const, Expr)):
            return None
        values.append(edge.node.value)
    text = _text(values, width)
    return text if len(text) <= width else elided(text, width)


def _text(value: object, width: int) -> str:
    if isinstance(value, str):
        return _string(value if len(value) <= width else elided(value, width * 2))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item, width) for item in value[:width])}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key_text(key)}: {_text(item, width)}" for key, item in value.items()) + "}"
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, Secret):
        return MASK
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        return hex(value)  # Python refuses to write thousands of decimal digits
    return printable(repr(value))


def _string(value: str) -> str:
    """Without quotes when nobody could take it for anything else."""
    if _BARE.match(value) and value.isprintable() and value.lower() not in _NOT_TEXT:
        return value
    return printable(json.dumps(value, ensure_ascii=False))


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii", "replace")
