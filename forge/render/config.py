"""A composed config as YAML text, with or without the place each line comes from; secrets masked."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.secrets import MASK, Secret, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.origin import Origin

__all__ = ["config_data", "config_yaml", "scalar"]

_LINE_WIDTH: Final = 88
_COMMENT_COLUMN: Final = 56
# What YAML reads as itself: it begins like a word, and holds nothing that begins a comment, a key or a collection.
_PLAIN: Final = re.compile(r"[A-Za-z_/$][^\x00-\x20\x7f-\xa0:#]*(?:[ :#][^\x00-\x20\x7f-\xa0:#]+)*\Z")
_FLOW_MARKS: Final = re.compile(r"[,\[\]{}]")
_NOT_PLAIN: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan"})
_BLOCK: Final = re.compile(
    r"[^\s\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff][^\x00-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff]*\Z"
)


class _Entry(NamedTuple):
    label: str
    value: Any
    origin: Origin | None
    secret: bool


def config_yaml(tree: Any, *, origins: bool = False, secret: bool = False) -> str:
    """A part of a composed config as YAML; with ``origins``, each line ends in a comment that names its place."""
    if not isinstance(tree, (dict, list)) or not tree:
        return _inline(tree, secret, 0) or "null"
    rows = list(_rows(tree, secret))
    if not origins:
        return "\n".join(text for text, _ in rows)
    return "\n".join(f"{text:<{_COMMENT_COLUMN}}  # {origin}" if origin else text for text, origin in rows)


def config_data(value: Any, *, secret: bool = False) -> Any:
    """A part of a composed config as plain dicts, lists and scalars."""
    if isinstance(value, dict):
        return {key: config_data(item, secret=secret or is_secret_name(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [config_data(item, secret=secret) for item in value]
    return MASK if _hidden(value, secret) else value


def scalar(value: object, *, flow: bool = False) -> str:
    """One value as YAML reads it back; ``flow`` when it stands between brackets."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.match(text) and text.lower() not in _NOT_PLAIN and not (flow and _FLOW_MARKS.search(text)):
        return text if not re.search(r": |:\Z| #", text) else _quoted(text)
    return _quoted(text)


def _rows(tree: Any, secret: bool) -> Iterator[tuple[str, Origin | None]]:  # noqa: FBT001 - private, and named at its use
    """The lines and the origin of each. A stack in place of recursion: a config may be deeper than Python's."""
    stack = [(_entries(tree, secret), "")]
    start = ""  # begins the next line: the dashes of the list items that open there
    while stack:
        entries, indent = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        head = f"{start or indent}{entry.label}"
        start = ""
        text = _inline(entry.value, entry.secret, len(head))
        if text is not None:
            first, *rest = text.split("\n")
            yield f"{head} {first}", entry.origin
            yield from ((f"{indent}  {line}" if line else "", None) for line in rest)
        elif entry.label == "-":
            start = f"{head} "
            stack.append((_entries(entry.value, entry.secret), " " * len(start)))
        else:
            yield head, entry.origin
            stack.append((_entries(entry.value, entry.secret), f"{indent}  "))


def _entries(value: Any, secret: bool) -> Iterator[_Entry]:  # noqa: FBT001 - as above
    settings = getattr(value, "settings", None)
    if isinstance(value, dict):
        for key, item in value.items():
            origin = settings[key].origin if settings else None
            yield _Entry(f"{scalar(key)}:", item, origin, secret or is_secret_name(key))
    else:
        for index, item in enumerate(value):
            yield _Entry("-", item, settings[index].origin if settings else None, secret)


def _inline(value: Any, secret: bool, column: int) -> str | None:  # noqa: FBT001 - as above
    """The text of a value that needs no lines of its own: a scalar, something empty, a short list of scalars."""
    if isinstance(value, dict):
        return None if value else "{}"
    if isinstance(value, list):
        if any(isinstance(item, (dict, list)) for item in value):
            return None
        text = f"[{', '.join(scalar(MASK if _hidden(item, secret) else item, flow=True) for item in value)}]"
        return text if not value or column + len(text) < _LINE_WIDTH else None
    if _hidden(value, secret):
        return scalar(MASK)
    return _block(value) if isinstance(value, str) and "\n" in value else scalar(value)


def _hidden(value: Any, secret: bool) -> bool:  # noqa: FBT001 - as above
    """Whether a value must not be shown; the text of an interpolation says where a secret is, not what it is."""
    if isinstance(value, Secret):
        return True
    return secret and value is not None and not (isinstance(value, str) and value.startswith("${"))


def _block(text: str) -> str:
    """A text of several lines as YAML's literal block, when that keeps every character."""
    if not _BLOCK.match(text) or text.endswith("\n\n") or any(line != line.rstrip() for line in text.split("\n")):
        return _quoted(text)
    return "|\n" + text.removesuffix("\n") if text.endswith("\n") else "|-\n" + text


def _number(value: float) -> str:
    if math.isinf(value) or math.isnan(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, mark, exponent = repr(value).partition("e")
    # YAML 1.1 reads a float with an exponent only when there is a dot before it.
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else repr(value)


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(letter) or _escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"  # noqa: PLR2004 - the widths of YAML's escapes
