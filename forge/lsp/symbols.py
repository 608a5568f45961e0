"""The keys of a config as a tree, for an editor's outline and its search for symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from forge.lsp.outline import Span, outline

if TYPE_CHECKING:
    from forge.base.paths import Path
    from forge.lsp.outline import OutlineEntry

__all__ = ["Symbol", "symbols_of"]


class Symbol(NamedTuple):
    """A key with what it holds: the target of an object, the text of a plain value."""

    name: str
    detail: str
    kind: str
    whole: Span
    key: Span
    children: tuple[Symbol, ...]


def symbols_of(text: str) -> tuple[Symbol, ...]:
    """The symbols of a text, as far as it can be read."""
    below: dict[Path, list[OutlineEntry]] = {}
    targets: dict[Path, str] = {}
    for entry in outline(text).entries:
        if entry.path:
            below.setdefault(entry.path[:-1], []).append(entry)
            if entry.path[-1] in {"_target_", "_symbol_"}:
                targets[entry.path[:-1]] = entry.text
    return _symbols(below, targets, ())


def _symbols(below: dict[Path, list[OutlineEntry]], targets: dict[Path, str], path: Path) -> tuple[Symbol, ...]:
    found = []
    for entry in below.get(path, ()):
        key = entry.key or entry.value
        target = targets.get(entry.path, "")
        kind = "object" if target else "key" if entry.kind == "scalar" else entry.kind
        whole = Span(key.line, key.column, *max(entry.value[2:], key[2:]))
        name = str(entry.path[-1]) if entry.key is not None else f"[{entry.path[-1]}]"
        detail = target or " ".join(entry.text.split())[:60]
        found.append(Symbol(name or "''", detail, kind, whole, key, _symbols(below, targets, entry.path)))
    return tuple(found)
