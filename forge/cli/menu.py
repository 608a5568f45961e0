"""A numbered menu in plain text: what it offers, what a person answers, and what `1-3,7` means."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.cli.output import Output

__all__ = ["MenuItem", "agreed", "at_a_terminal", "choose", "is_numbers", "numbered", "positions", "reply_to"]

_NUMBERS: Final = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*\Z", re.ASCII)
_YES: Final = frozenset({"y", "yes"})
_ALL: Final = frozenset({"a", "all"})


class MenuItem(NamedTuple):
    """One thing to choose: the title it stands under, and its text."""

    group: str
    text: str


def is_numbers(word: str) -> bool:
    """Whether a word names items of a menu: ``2``, ``1-3,7``."""
    return _NUMBERS.match(word) is not None


def positions(words: str, count: int) -> list[int]:
    """The positions, from 0, that ``1-3,7`` means in a menu of ``count`` items, in this order and once each."""
    found: dict[int, None] = {}
    for part in words.replace(",", " ").split():
        if not is_numbers(part):
            raise UsageError(f"{part!r} is no number of the list", hint="write numbers like 1-3,7")
        first, _, last = part.partition("-")
        ends = [int(end) if len(end) < len(str(count)) + 1 else count + 1 for end in (first, last or first)]
        if not 1 <= ends[0] <= ends[1] <= count:
            raise UsageError(f"the list has no {part}", hint=f"it goes from 1 to {count}")
        found |= dict.fromkeys(range(ends[0] - 1, ends[1]))
    return list(found)


def numbered(items: Sequence[MenuItem]) -> str:
    """The items with their numbers, below the titles of their groups."""
    width = len(str(len(items)))
    lines: list[str] = []
    group = None
    for number, item in enumerate(items, 1):
        if item.group != group:
            lines += [""] * bool(lines) + [item.group]
            group = item.group
        lines.append(f"  {number:>{width}}  {item.text}")
    return "\n".join(lines)


def choose(output: Output, title: str, items: Sequence[MenuItem]) -> list[int]:
    """Show the items and read numbers from the terminal; the positions of those that were chosen, none for an empty answer."""
    output.write(f"{numbered(items)}\n\n")
    while True:
        answer = reply_to(output, f"{title} (like 1-3,7; a for all; Enter for none): ").lower()
        if answer in _ALL:
            return list(range(len(items)))
        try:
            return positions(answer, len(items))
        except UsageError as error:
            output.error(error)


def reply_to(output: Output, question: str) -> str:
    """Ask a question on one line and return the answer; the end of the input is an empty one."""
    output.flush()
    output.stream.write(question)
    output.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        output.write("")
    return answer.strip()


def agreed(output: Output, question: str) -> bool:
    """Ask a question whose answer is yes or, also when nothing is said, no."""
    return reply_to(output, f"{question} [y/N] ").lower() in _YES


def at_a_terminal(output: Output) -> bool:
    """Whether there is a person to ask."""
    return output.stream.isatty() and sys.stdin is not None and sys.stdin.isatty()
