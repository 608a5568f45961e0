"""Where to go: the file that a default names, the line that sets a value, the Python of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from forge.lsp.outline import outline
from forge.lsp.pointed import pointed_at, reference_place

if TYPE_CHECKING:
    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.lsp.desk import Desk, Sheet
    from forge.lsp.pointed import Pointed

__all__ = ["Location", "definition_at"]


class Location(NamedTuple):
    """A place in a file; line and column count from 0."""

    file: str
    line: int = 0
    column: int = 0


def definition_at(desk: Desk, file: str, text: str, line: int, column: int) -> Location | None:
    """The place that a position leads to, None when it leads nowhere."""
    sheet = desk.sheet(file)
    pointed = pointed_at(text, outline(text), sheet, line, column) if sheet is not None else None
    if sheet is None or pointed is None:
        return None
    if pointed.kind == "default":
        found = sheet.file_of(pointed.text)
        return Location(found) if found is not None else None
    if pointed.kind == "target":
        signature = desk.lookup(sheet.project, pointed.text).signature
        return Location(signature.file, max(0, signature.line - 1)) if signature is not None else None
    if pointed.kind == "reference":
        place = reference_place(sheet, pointed.path, pointed.text)
        return _setter(sheet, place) if place is not None else None
    return _replaced(sheet, pointed)


def _setter(sheet: Sheet, place: Path) -> Location | None:
    """The line that set the value at a place last."""
    setting = sheet.composed.setting(place) if sheet.composed is not None else None
    return _location(setting.origin) if setting is not None else None


def _replaced(sheet: Sheet, pointed: Pointed) -> Location | None:
    """For a value of this file, the line of another file whose value it replaces."""
    history = sheet.composed.history(sheet.absolute(pointed.path)) if sheet.composed is not None else []
    own = next((number for number, one in enumerate(history) if one.origin.file == sheet.file), len(history))
    earlier = [found for one in history[:own] if (found := _location(one.origin)) is not None]
    return earlier[-1] if earlier else None


def _location(origin: Origin) -> Location | None:
    return Location(origin.file, max(0, origin.line - 1), max(0, origin.column - 1)) if origin.file else None
