"""What is wrong with a file, as `forge check` finds it in the config the file is a part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from forge.base.errors import ConfigError, ForgeError
from forge.base.origin import shown_path
from forge.build.examine import examine
from forge.compose.document import parse_document
from forge.lsp.outline import Span, outline
from forge.lsp.pointed import chosen_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.graph.call_check import Finding
    from forge.lsp.desk import Desk, Sheet
    from forge.lsp.outline import Outline

__all__ = ["Problem", "diagnostics_of"]

# What only a whole config can be blamed for: a part is not wrong because it leaves something to others.
_OF_WHOLE_CONFIGS: Final = frozenset({"missing", "missing-argument", "unused-key", "misspelt-key", "no-main"})
# A file that no config takes is composed by itself, so that every reference out of it leads nowhere.
_OF_USED_FILES: Final = _OF_WHOLE_CONFIGS | {"config", "argument-rule"}


class Problem(NamedTuple):
    """One finding with its place in the file."""

    span: Span
    message: str
    severity: Literal["error", "warning"]
    code: str = ""


def diagnostics_of(desk: Desk, file: str, text: str) -> list[Problem]:
    """Everything that is wrong with a file as it is shown now; a text that does not parse is reported as just that."""
    sheet = desk.sheet(file)
    if sheet is None:
        return []
    read = outline(text)
    try:
        parse_document(text.encode(), sheet.file, "project")
    except ConfigError as error:
        line, column = (error.origin.line, error.origin.column) if error.origin is not None else (1, 1)
        message = f"{error.what}, {error.hint}" if error.hint else error.what
        return [Problem(_span(read, text, line, column), message, "error", "syntax")]
    try:
        findings = examine(sheet.project, sheet.way.config, sheet.way.overrides, texts=desk.unsaved())
    except ForgeError as error:
        return [Problem(_span(read, text, 1, 1), error.what, "error", "config")]
    return list(dict.fromkeys(_problems(sheet, read, text, findings)))


def _problems(sheet: Sheet, read: Outline, text: str, findings: list[Finding]) -> Iterator[Problem]:
    not_ours = frozenset() if sheet.is_config else _OF_USED_FILES if sheet.way.alone else _OF_WHOLE_CONFIGS
    for finding in findings:
        if finding.code in not_ours:
            continue
        message = finding.text
        message = f"{finding.key}: {message}" if finding.key else message
        origin = finding.origin
        if origin is not None and origin.file == sheet.file:
            span = _span(read, text, origin.line, origin.column)
            yield Problem(span, message, finding.severity, finding.code)
        elif sheet.is_config and origin is not None and (named := _naming_line(sheet, read, origin.file)) is not None:
            yield Problem(named, f"{shown_path(origin.file)}:{origin.line}: {message}", finding.severity, finding.code)


def _naming_line(sheet: Sheet, read: Outline, file: str) -> Span | None:
    """The line of the defaults list through which another file came in."""
    if sheet.composed is None:
        return None
    parents = {used.config: used.parent for used in sheet.composed.files}
    config = next((used.config for used in sheet.composed.files if used.file == file), None)
    ways: set[str] = set()
    while config is not None and config not in ways:
        ways.add(config)
        config = parents.get(config)
    lines = (entry for entry in read.entries if entry.path[:1] == ("defaults",))
    return next((entry.value for entry in lines if chosen_config(entry, sheet) in ways), None)


def _span(read: Outline, text: str, line: int, column: int) -> Span:
    """What stands at a place that counts from 1: the key there, the value there, else the rest of the line."""
    row, start = max(0, line - 1), max(0, column - 1)
    for entry in read.entries:
        if entry.key is not None and (entry.key.line, entry.key.column) == (row, start):
            return entry.key
        if entry.kind == "scalar" and (entry.value.line, entry.value.column) == (row, start):
            return entry.value
    lines = text.split("\n")
    end = len(lines[row].rstrip()) if row < len(lines) else start
    return Span(row, min(start, end), row, max(start, end))
