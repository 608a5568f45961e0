"""What may come next at the cursor of the shell: a pure function of the text, the cursor, and what is known.

It finds the command and the word at the cursor, asks `forge.cli.completion.complete` as bash would, sorts the answer, and
writes it as the line needs it: with quotes, or with the names of files that bash looks up by itself.
"""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from forge.base.sizes import shown_size
from forge.cli.completion import complete, split_globals
from forge.cli.known import FILES, FOLDERS, Candidate
from forge.cli.parse import is_override
from forge.cli.words import Word, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.cli.known import Known
    from forge.shell.rank import Ranker

__all__ = ["OPEN_ENDS", "LineKnowledge", "Suggestion", "quoted_word", "suggest"]

OPEN_ENDS: Final = ("=", ".", "/")
"""A word that ends in one of these goes on."""

_PROJECT_FILE: Final = "project.yaml"
_HEAD: Final = 2000
_MOST_FILES: Final = 10_000
_SPECIAL: Final = re.compile(r"[\s;'\"\\]|\A#|\A&\Z|\A\Z")
_OUTSIDE_ONLY: Final = frozenset({"--interactive", "--commands", "--version"})


class Suggestion(NamedTuple):
    """A text for the line from ``start`` to the cursor, how the list shows it, what it means, and its kind."""

    text: str
    start: int
    shown: str
    meaning: str = ""
    kind: str = ""


class LineKnowledge(Protocol):
    """Knows what the shell works on, and what one line chooses in its place."""

    def of_line(self, project: str | None, config: str | None, overrides: tuple[str, ...]) -> Known:
        """What is known for a line with these flags before its verb and these overrides; None where none is given."""


def suggest(text: str, cursor: int, known: LineKnowledge, ranker: Ranker) -> list[Suggestion]:
    """Everything that the word at the cursor may become, best first."""
    before = text[:cursor]
    start = before.rfind("\n") + 1
    for_system = before[start:].lstrip().startswith("!")
    command = _command(before[start:])
    if command is None:
        return []
    words, here = command
    if for_system:
        found = [FILES] if len(words) > 1 else []
    else:
        found = _candidates([word.text for word in words], known, ranker)
    here = here._replace(start=here.start + start)
    return [_suggestion(one, here) for one in ranker.sort(here.text, _with_files(found, here.text, ranker))]


def _command(line: str) -> tuple[list[Word], Word] | None:
    """The words of the command at the end of a line, and the last of them, which may be empty; None in a comment."""
    words: list[Word] = []
    end = 0
    for word in scan(line):
        words = [] if word.breaks else [*words, word]
        end = word.end
    if line[end:].strip():
        return None  # only a comment is not made of words
    if not words or end < len(line):
        words.append(Word("", len(line), len(line)))
    return words, words[-1]


def _candidates(words: Sequence[str], known: LineKnowledge, ranker: Ranker) -> list[Candidate]:
    chosen, rest = split_globals(words[:-1])
    overrides = tuple(word for word in rest if is_override(word))
    found = complete(words, len(words) - 1, known.of_line(chosen.project, chosen.config, overrides), ranker.select)
    return [one for one in found if rest or one.text not in _OUTSIDE_ONLY]


def _with_files(found: Sequence[Candidate], word: str, ranker: Ranker) -> Iterator[Candidate]:
    for one in found:
        if one in (FILES, FOLDERS):
            yield from _files(word, ranker, folders_only=one is FOLDERS)
        else:
            yield one


def _files(word: str, ranker: Ranker, *, folders_only: bool) -> Iterator[Candidate]:
    """The files that continue a path, with what lies in a folder; hidden ones only when a dot asks for them."""
    head = word[: word.rfind("/") + 1]
    last = word[len(head) :]
    try:
        with os.scandir(os.path.expanduser(head) or ".") as entries:
            names = {
                entry.name + "/" * os.path.isdir(entry.path): entry.path
                for entry in islice(entries, _MOST_FILES)
                if (os.path.isdir(entry.path) or not folders_only)
                and entry.name.startswith(".") == last.startswith(".")
            }
    except OSError:
        return
    for name in ranker.select(last, names):
        is_folder = name.endswith("/")
        meaning = _in_folder(names[name]) if is_folder else _size(names[name])
        yield Candidate(head + name, meaning, "folder" if is_folder else "file")


def _size(path: str) -> str:
    try:
        return shown_size(os.path.getsize(path))
    except OSError:  # it is gone, or it leads nowhere
        return ""


def _in_folder(folder: str) -> str:
    """Which project lies in a folder, told by the ``name:`` line of its file."""
    path = os.path.join(folder, _PROJECT_FILE)
    if not os.path.isfile(path):
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            named = re.search(r"^name:\s*([^\s#]+)", file.read(_HEAD), re.MULTILINE)
    except OSError:
        return "project"
    return f"project {named[1]}" if named else "project"


def _suggestion(one: Candidate, here: Word) -> Suggestion:
    text = quoted_word(one.text, here.open_quote, ended=not one.text.endswith(OPEN_ENDS))
    return Suggestion(text, here.start, _shown(one, here.text), " ".join(one.meaning.split()), one.kind)


def _shown(one: Candidate, word: str) -> str:
    """The step of a path that is being typed: the steps before it stand in the line."""
    marks = "/" if one.kind in {"file", "folder"} else ".="
    cut = max(word.rfind(mark) + 1 for mark in marks)
    return one.text[cut:] if one.text[:cut] == word[:cut] and len(one.text) > cut else one.text


def quoted_word(text: str, quote: str = "", *, ended: bool = True) -> str:
    """A word as the line reads it back, in the quote that is open already if there is one; not ``ended`` leaves it open."""
    if not quote and not _SPECIAL.search(text):
        return text
    if "'" in text:
        quote = '"'
    quote = quote or "'"
    inner = text if quote == "'" else text.replace("\\", "\\\\").replace('"', '\\"')
    return f"{quote}{inner}{quote if ended else ''}"
