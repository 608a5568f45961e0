"""The colours of the line that is typed: a verb that exists, a flag, the key and the value of an override, an open quote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prompt_toolkit.lexers import Lexer

from forge.cli.completion import GLOBAL_OPTIONS
from forge.cli.parse import is_override
from forge.cli.words import Word, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from forge.shell.complaint import Complaints

__all__ = ["ShellLexer", "coloured_line"]

_VALUED: Final = frozenset(name for option in GLOBAL_OPTIONS if option.value for name in option.names)


class ShellLexer(Lexer):
    """Colours each line; ``verbs`` names those there are, None while they are not known."""

    def __init__(self, verbs: Callable[[], Collection[str] | None], complaints: Complaints) -> None:
        self._verbs = verbs
        self._complaints = complaints

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """A function from the number of a line to its parts."""
        lines = document.lines

        def line(number: int) -> StyleAndTextTuples:
            if number >= len(lines):
                return []
            text = lines[number]
            return self._complaints.guarded(
                "colouring failed", lambda: coloured_line(text, self._verbs()), [("", text)]
            )

        return line


def coloured_line(line: str, verbs: Collection[str] | None) -> StyleAndTextTuples:
    """The parts of a line, each with its style; together they are the line."""
    if line.lstrip().startswith("!"):
        return [("class:line.system", line)]
    parts: StyleAndTextTuples = []
    end = 0
    for start, text, style in _parts(line, verbs):
        if start > end:
            parts.append(("", line[end:start]))
        parts.append((style, text))
        end = start + len(text)
    if end < len(line):
        rest = line[end:]
        parts.append(("class:line.comment" if rest.strip() else "", rest))
    return parts


def _parts(line: str, verbs: Collection[str] | None) -> Iterator[tuple[int, str, str]]:
    """Start, text and style of everything but the blanks between."""
    at_verb, flag_waits = True, False
    for word in scan(line):
        text = line[word.start : word.end]
        if word.breaks:
            at_verb, flag_waits = True, False
            yield word.start, text, "class:line.break"
        elif word.open_quote:
            yield word.start, text, "class:line.open"
            at_verb = False
        elif at_verb and (flag_waits or word.text.startswith("-")):
            yield word.start, text, "class:line.value" if flag_waits else "class:line.flag"
            flag_waits = not flag_waits and word.text in _VALUED
        elif at_verb:
            at_verb = False
            yield word.start, text, _verb_style(word.text, verbs, unfinished=word.end == len(line))
        else:
            yield from _word(word, text)


def _verb_style(name: str, verbs: Collection[str] | None, *, unfinished: bool) -> str:
    """The colour of a verb; the beginning of one, while it is typed, is no mistake yet."""
    if verbs is None or name in verbs:
        return "class:line.verb"
    return "" if unfinished and any(verb.startswith(name) for verb in verbs) else "class:line.unknown"


def _word(word: Word, text: str) -> Iterator[tuple[int, str, str]]:
    if is_override(word.text) and "=" in text and not text.startswith(("'", '"')):
        key, mark, value = text.partition("=")
        yield word.start, key, "class:line.key"
        yield word.start + len(key), mark, "class:line.mark"
        if value:
            yield word.start + len(key) + 1, value, "class:line.value"
    elif is_override(word.text):
        yield word.start, text, "class:line.key"
    elif text == "&":
        yield word.start, text, "class:line.break"
    elif text.startswith("-"):
        yield word.start, text, "class:line.flag"
    else:
        yield word.start, text, "class:line.quoted" if word.quoted else ""
