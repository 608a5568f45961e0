"""What a position in a config points at: a file of the defaults list, a reference, a target, or a value."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from forge.base.errors import InterpolationError
from forge.compose.interpolation import canonical
from forge.compose.reference import absolute
from forge.lsp.outline import Span

if TYPE_CHECKING:
    from forge.base.paths import Path
    from forge.lsp.desk import Sheet
    from forge.lsp.outline import Outline, OutlineEntry

__all__ = ["Pointed", "chosen_config", "owner_target", "pointed_at", "reference_place"]

_REFERENCE: Final = re.compile(r"\$\{\s*(\.*[^\s${}:'\",\\]+)\s*\}")


class Pointed(NamedTuple):
    """What is at a position: its kind, its text (a config's name, a target, a reference), its path in the file, its place."""

    kind: Literal["default", "reference", "target", "key", "value"]
    text: str
    path: Path
    span: Span


def pointed_at(text: str, read: Outline, sheet: Sheet, line: int, column: int) -> Pointed | None:
    """What a position points at, counted from 0; None where there is nothing to say."""
    entry = read.at(line, column)
    if entry is None or not entry.path:
        return None
    on_key = entry.key is not None and entry.key.holds(line, column)
    if entry.path[0] == "defaults":
        config = chosen_config(entry, sheet)
        return Pointed("default", config, entry.path, entry.value) if config is not None else None
    if not on_key and (found := _reference_at(text, line, column)) is not None:
        return Pointed("reference", found[0], entry.path, found[1])
    last = entry.path[-1]
    if last == "key" and not on_key and entry.text and sheet.absolute(entry.path)[:1] == ("args",):
        return Pointed("reference", entry.text, entry.path, entry.value)  # the value that a flag sets
    if last in {"_target_", "_symbol_"}:
        return Pointed("target", entry.text, entry.path, entry.value)
    span = entry.key if on_key and entry.key is not None else entry.value
    return Pointed("key" if on_key else "value", str(last), entry.path, span)


def chosen_config(entry: OutlineEntry, sheet: Sheet) -> str | None:
    """The config that a line of the defaults list takes; None for ``_self_``, null and what is open."""
    choice = entry.text
    if entry.kind != "scalar" or not choice or choice in {"_self_", "null", "~"} or "${" in choice:
        return None
    base = os.path.dirname(sheet.name)
    group = entry.path[2] if len(entry.path) > 2 else None  # noqa: PLR2004 - defaults, the number, the group
    if group is None:
        return _from(base, choice.partition("@")[0])
    name = str(group).split(" ")[-1].partition("@")[0]
    config = f"{_from(base, name)}/{choice}"
    # An override may name a group that another file chose from, as seen from the root.
    return config if sheet.file_of(config) is not None else f"{name.lstrip('/')}/{choice}"


def _from(base: str, name: str) -> str:
    if name.startswith("/"):
        return name[1:]
    return f"{base}/{name}" if base else name


def _reference_at(text: str, line: int, column: int) -> tuple[str, Span] | None:
    written = text.split("\n")[line]
    for match in _REFERENCE.finditer(written):
        if match.start() <= column <= match.end():
            return match.group(1), Span(line, match.start(), line, match.end())
    return None


def reference_place(sheet: Sheet, at: Path, reference: str) -> Path | None:
    """The path in the composed config that a reference means, written at a path of the file."""
    if sheet.composed is None:
        return None
    try:
        return canonical(sheet.composed.tree, absolute(sheet.absolute(at), reference))
    except (ValueError, InterpolationError):
        return None


def owner_target(read: Outline, sheet: Sheet, path: Path) -> str | None:
    """The target of the mapping at a path of the file: as it stands there, else as the config is composed."""
    written = read.find((*path, "_target_"))
    if written is not None:
        return written.text if "${" not in written.text else None
    target = sheet.mapping(path).get("_target_")
    return target if isinstance(target, str) and "${" not in target else None
