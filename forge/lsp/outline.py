"""The values of a YAML text with their places, also of a text that somebody is still typing.

Lines that keep the rest from being read are left out, one at a time, until what remains parses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import yaml

from forge.compose.document import MAX_BYTES, MAX_DEPTH, MAX_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.paths import Path

__all__ = ["Outline", "OutlineEntry", "Span", "outline"]

_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_REPAIRS: Final = 40
_LONG: Final = 100_000  # characters from which on a broken text is not read over and over
_FEW_REPAIRS: Final = 3
# What is open is met where the text ends, and meant where it stands.
_MET_LATE: Final = ("flow", "quoted", "simple key")


class Span(NamedTuple):
    """A part of a text; lines and columns count from 0, the end is not part of it."""

    line: int
    column: int
    end_line: int
    end_column: int

    def holds(self, line: int, column: int) -> bool:
        """Whether a position is in it, or just behind it."""
        return (self.line, self.column) <= (line, column) <= (self.end_line, self.end_column)


class OutlineEntry(NamedTuple):
    """A value of the text: its path in this file, where its key stands (None in a list), where it stands itself."""

    path: Path
    key: Span | None
    value: Span
    kind: Literal["scalar", "mapping", "list"]
    text: str = ""


class Outline(NamedTuple):
    """All values in the order of the text, containers before what is in them."""

    entries: tuple[OutlineEntry, ...]

    def at(self, line: int, column: int) -> OutlineEntry | None:
        """The innermost value whose key or text is at a position."""
        found = None
        for entry in self.entries:
            on_key = entry.key is not None and entry.key.holds(line, column)
            if on_key or (entry.kind == "scalar" and entry.value.holds(line, column)):
                found = entry
        return found

    def find(self, path: Path) -> OutlineEntry | None:
        """The value at a path of this file."""
        return next((entry for entry in self.entries if entry.path == path), None)

    def children(self, path: Path) -> Iterator[OutlineEntry]:
        """The values right below a path."""
        return (entry for entry in self.entries if len(entry.path) == len(path) + 1 and entry.path[:-1] == path)


def outline(text: str) -> Outline:
    """The values of a text, as far as it can be read."""
    if len(text) > MAX_BYTES:
        return Outline(())
    lines = _readable(text).split("\n")
    reader = _Reader()
    for _ in range(_MOST_REPAIRS if len(text) < _LONG else _FEW_REPAIRS):
        reader = _Reader()
        problem = reader.read("\n".join(lines))
        if problem is None or not _leave_out(lines, problem):
            break
    return Outline(tuple(reader.entries))


def _readable(text: str) -> str:
    """A text without the characters that YAML refuses, each replaced so that columns stay."""
    return "".join(letter if letter in "\n\t" or letter.isprintable() else " " for letter in text)


def _leave_out(lines: list[str], problem: yaml.MarkedYAMLError) -> bool:
    """Empty the line that is most likely to blame; False when there is none left."""
    where = problem.problem_mark.line if problem.problem_mark is not None else len(lines) - 1
    suspects = list(range(min(where, len(lines) - 1), max(where - 3, -1), -1))
    if len(suspects) > 1 and "mapping values" in str(problem.problem) and ":" not in lines[suspects[1]]:
        suspects.insert(0, suspects[1])  # a word without its colon became part of the value before it
    if problem.context_mark is not None and any(what in str(problem.context) for what in _MET_LATE):
        suspects.insert(0, min(problem.context_mark.line, len(lines) - 1))
    for number in suspects:
        if lines[number].strip():
            lines[number] = ""
            return True
    return False


class _Open(NamedTuple):
    """A container whose end has not come yet."""

    path: Path
    place: int  # its number among the entries
    is_list: bool


class _Reader:
    def __init__(self) -> None:
        self.entries: list[OutlineEntry] = []
        self.stack: list[_Open] = []
        self.counts: list[int] = []
        self.key: tuple[Any, Span] | None = None
        self.skipping = 0  # depth inside a key that is a container

    def read(self, text: str) -> yaml.MarkedYAMLError | None:
        try:
            for event in yaml.parse(text, Loader=_PARSER):
                self.take(event)
                if len(self.stack) >= MAX_DEPTH or len(self.entries) > MAX_VALUES or self.skipping > MAX_DEPTH:
                    return None  # composing refuses it, too; the parser would take minutes
        except yaml.MarkedYAMLError as error:
            return error
        except yaml.YAMLError:
            return None
        return None

    def take(self, event: Any) -> None:
        if self.skipping:
            starts = isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
            self.skipping += starts - isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
        elif isinstance(event, yaml.ScalarEvent):
            self.scalar(event.value, _span(event))
        elif isinstance(event, yaml.AliasEvent):
            self.scalar("", _span(event))
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self.start(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.end(event)

    def waits_for_key(self) -> bool:
        return bool(self.stack) and not self.stack[-1].is_list and self.key is None

    def scalar(self, text: str, span: Span) -> None:
        if self.waits_for_key():
            self.key = (text, span)
        else:
            self.add(span, "scalar", text)

    def start(self, event: Any) -> None:
        if self.waits_for_key():
            self.skipping = 1
            self.key = ("", _span(event))
            return
        is_list = isinstance(event, yaml.SequenceStartEvent)
        path = self.add(_span(event), "list" if is_list else "mapping")
        self.stack.append(_Open(path, len(self.entries) - 1, is_list))
        self.counts.append(0)

    def end(self, event: Any) -> None:
        done = self.stack.pop()
        self.counts.pop()
        self.key = None
        entry = self.entries[done.place]
        end = event.end_mark
        self.entries[done.place] = entry._replace(value=entry.value._replace(end_line=end.line, end_column=end.column))

    def add(self, span: Span, kind: Any, text: str = "") -> Path:
        if not self.stack:
            path: Path = ()
            key = None
        elif self.stack[-1].is_list:
            path, key = (*self.stack[-1].path, self.counts[-1]), None
            self.counts[-1] += 1
        else:
            name, key = self.key or ("", span)
            path = (*self.stack[-1].path, name)
            self.key = None
        self.entries.append(OutlineEntry(path, key, span, kind, text))
        return path


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    return Span(start.line, start.column, end.line, end.column)
