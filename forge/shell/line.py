"""One line of the shell as the commands in it."""

from __future__ import annotations

from typing import NamedTuple

from forge.base.errors import UsageError
from forge.cli.words import Word, scan

__all__ = ["Command", "split_commands"]


class Command(NamedTuple):
    """A verb with its words, or what follows ``!`` for the system's shell; ``background`` when it ends in ``&``."""

    words: tuple[str, ...] = ()
    system: str = ""
    background: bool = False


def split_commands(text: str) -> list[Command]:
    """The commands of one or more lines, which semicolons and line ends separate; comments and empty ones are left out."""
    found: list[Command] = []
    words: list[Word] = []
    pending = scan(text)
    while word := next(pending, None):
        if word.open_quote:
            raise UsageError(
                f"a quote is not closed: {text[word.start :]}", hint=f"end the text with {word.open_quote}"
            )
        if not words and text[word.start] == "!":
            end = text.find("\n", word.start)
            end = len(text) if end < 0 else end
            system = text[word.start + 1 : end].strip()
            if not system:
                raise UsageError("a line of the system's shell is missing behind !", hint="! ls -l")
            found.append(Command(system=system))
            pending = scan(text, end)
        elif not word.breaks:
            words.append(word)
        elif words:
            found.append(_command(words))
            words = []
    return [*found, _command(words)] if words else found


def _command(words: list[Word]) -> Command:
    last = words[-1]
    sign = next((word.text for word in words[1:] if not word.quoted and word.text.startswith(("|", ">"))), None)
    if sign is not None:
        raise UsageError(
            f"{sign[0]} means nothing between verbs of forge",
            hint="-o FILE writes a result to a file; a pipe is for the system's shell: ! forge VERB | head",
        )
    texts = tuple(word.text for word in words)
    if last.text == "&" and not last.quoted and len(words) > 1:
        return Command(texts[:-1], background=True)
    return Command(texts)
