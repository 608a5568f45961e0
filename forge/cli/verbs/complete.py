"""``forge __complete``: what the completion scripts ask on each press of Tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ForgeError
from forge.cli.options import Positional
from forge.cli.registry import Verb
from forge.cli.words import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.cli.known import Candidate
    from forge.cli.session import Context

__all__ = ["VERB", "split_line"]


def _run(context: Context) -> int:
    shell, *given = context.words
    try:
        found = _from_bash(given) if shell == "bash" else _candidates(given[1:], int(given[0]))
    except (ForgeError, ValueError, OSError):
        if context.session.debug:
            raise
        return 0  # in the middle of a line there is nobody to tell
    if found:
        context.output.write("\n".join(f"{one.text}\t{_line(one.meaning)}" for one in found))
    return 0


def _candidates(words: Sequence[str], index: int) -> list[Candidate]:
    from forge.cli.completion import complete, split_globals  # `forge --help` lists this verb too
    from forge.cli.knowledge import Knowledge
    from forge.cli.parse import is_override

    if index < 0:
        return []  # the cursor is at the name of the program
    chosen, rest = split_globals(words[:index])
    overrides = [word for word in rest if is_override(word)]
    return complete(words, index, Knowledge(chosen.project, chosen.config, overrides))


def _from_bash(given: Sequence[str]) -> list[Candidate]:
    """Bash gives the whole line, and wants what follows the last of its break characters in the word."""
    line, point, breaks = given
    words = split_line(line.encode()[: int(point)].decode(errors="ignore"))
    word = words[-1]
    found = _candidates(words[1:], len(words) - 2)
    cut = max((word.rfind(letter) + 1 for letter in breaks if letter in "=:"), default=0)
    return [one._replace(text=one.text[cut:]) if one.text else one for one in found]


def split_line(text: str) -> list[str]:
    """The words of an unfinished command line, the last one being the word at the cursor, quotes removed."""
    found = [word for word in scan(text) if not word.breaks]
    at_a_word = bool(found) and found[-1].end == len(text)
    return [*(word.text for word in found), *([] if at_a_word else [""])]


def _line(meaning: str) -> str:
    return " ".join(meaning.split())


VERB = Verb(
    name="__complete",
    summary="print what may come next on a command line",
    help="Print what may come next on a command line, one candidate and its meaning a line. For completion scripts.",
    run=_run,
    positionals=(
        Positional("SHELL", "bash, zsh or fish"),
        Positional("WORD", "the position of the cursor and the words, or for bash the line", most=None),
    ),
    hidden=True,
)
