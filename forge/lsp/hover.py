"""What an editor shows beside a position, as Markdown: a target's signature, a value's origins, a choice's own comment."""

from __future__ import annotations

import ast
import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import ForgeError
from forge.base.files import read_bounded
from forge.base.origin import shown_path
from forge.base.paths import dotted
from forge.compose.heading import heading
from forge.lsp.outline import outline
from forge.lsp.pointed import owner_target, pointed_at, reference_place
from forge.render.why import why

if TYPE_CHECKING:
    from forge.base.paths import Path
    from forge.graph.static.signature import Parameter, Signature
    from forge.lsp.desk import Desk, Sheet
    from forge.lsp.outline import Outline, Span
    from forge.lsp.pointed import Pointed

__all__ = ["Hover", "hover_at", "parameter_text", "target_text"]

_LARGEST_SOURCE: Final = 4_000_000
_LONGEST_DOC: Final = 6_000
_WIDTH: Final = 88


class Hover(NamedTuple):
    """A text in Markdown, and the part of the file it is about."""

    text: str
    span: Span


def hover_at(desk: Desk, file: str, text: str, line: int, column: int) -> Hover | None:
    """What there is to say about a position, None when nothing."""
    sheet = desk.sheet(file)
    read = outline(text)
    pointed = pointed_at(text, read, sheet, line, column) if sheet is not None else None
    if sheet is None or pointed is None:
        return None
    parts = _parts(desk, sheet, read, pointed)
    return Hover("\n\n---\n\n".join(parts), pointed.span) if parts else None


def _parts(desk: Desk, sheet: Sheet, read: Outline, pointed: Pointed) -> list[str]:
    if pointed.kind == "default":
        found = sheet.file_of(pointed.text)
        return [] if found is None else [f"{heading(found)}\n\n`{shown_path(found)}`".strip()]
    if pointed.kind == "target":
        signature = desk.lookup(sheet.project, pointed.text).signature
        return [] if signature is None else [target_text(signature)]
    if pointed.kind == "reference":
        place = reference_place(sheet, pointed.path, pointed.text)
        return [] if place is None else _origins(sheet, place)
    about = _parameter(desk, sheet, read, pointed.path)
    return [*([about] if about else []), *_origins(sheet, sheet.absolute(pointed.path))]


def _origins(sheet: Sheet, place: Path) -> list[str]:
    """The value at a place and who set it, as `forge why` says it."""
    if sheet.composed is None:
        return []
    try:
        reason = why(sheet.composed, dotted(place))
    except ForgeError:
        return []
    return [f"```text\n{reason}\n```"]


def _parameter(desk: Desk, sheet: Sheet, read: Outline, path: Path) -> str:
    """The parameter that a key is, for the target of its mapping."""
    target = owner_target(read, sheet, path[:-1])
    signature = desk.lookup(sheet.project, target).signature if target is not None else None
    if signature is None:
        return ""
    found = next((one for one in signature.parameters if one.name == path[-1]), None)
    return f"```python\n{parameter_text(found)}\n```\nof `{signature.target}`" if found is not None else ""


def parameter_text(parameter: Parameter) -> str:
    """A parameter as Python writes it."""
    annotation = parameter.annotation
    if annotation[:1] in {"'", '"'} and annotation.count(annotation[0]) == 2:  # noqa: PLR2004 - a forward reference
        annotation = annotation[1:-1]
    wants = f": {annotation}" if annotation else ""
    if parameter.default is None:
        return f"{parameter.name}{wants}"
    return f"{parameter.name}{wants}{' = ' if wants else '='}{parameter.default}"


def target_text(signature: Signature) -> str:
    """A target's signature and docstring, read from its source."""
    shown = [parameter_text(parameter) for parameter in signature.parameters]
    shown += ["*args"] * signature.var_positional + ["**kwargs"] * signature.var_keyword
    head = f"{'class' if signature.is_class else 'def'} {signature.target.rpartition('.')[2]}"
    call = f"{head}({', '.join(shown)})"
    if len(call) > _WIDTH:
        call = "\n".join([f"{head}(", *(f"    {one}," for one in shown), ")"])
    doc = _docstring(signature.file, signature.line, _changed(signature.file)) or signature.doc
    place = f"`{shown_path(signature.file)}:{signature.line}`"
    return "\n\n".join(part for part in (f"```python\n{call}\n```", doc[:_LONGEST_DOC], place) if part)


def _changed(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=200)
def _docstring(file: str, line: int, _changed_at: int) -> str:
    """The docstring of the class or function at a line, found by parsing the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # somebody else's invalid escapes are no business of ours
            tree = ast.parse(read_bounded(file, _LARGEST_SOURCE))
    except (ForgeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.lineno == line:
            return ast.get_docstring(node) or ""
    return ""
