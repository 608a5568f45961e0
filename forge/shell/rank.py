"""Which names a word may become, best first: by how well they match, their kind, how often they were used, and the alphabet."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from forge.cli.parse import is_override
from forge.cli.words import scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from forge.cli.known import Candidate

__all__ = ["MOST", "Ranker", "Usage", "quality"]

MOST: Final = 100
"""How many names one question is answered with: nobody reads more, and each costs time to be drawn."""

# What is likelier wanted stands first among equal matches.
_KINDS: Final = ("verb", "choice", "value", "override", "job", "config", "group", "key", "target", "source", "project")
_PRIORITY: Final = {kind: position for position, kind in enumerate(_KINDS)}
_PARTS: Final = ".-_/@:"
_NO_MATCH: Final = (9, 0, 0)


class Usage(Counter[str]):
    """How often words stood in lines; an override counts for its key, the steps of its key, and as a whole."""

    def add_line(self, line: str) -> None:
        """Count the words of one line."""
        for word in scan(line):
            text = word.text
            self[text] += 1
            if is_override(text) and not word.breaks:
                key = text.lstrip("+~").partition("=")[0]
                steps = key.split(".")
                self.update(
                    {f"{key}=", *steps, *(".".join(steps[:end]) + "." for end in range(1, len(steps)))} - {text}
                )


class Ranker:
    """Chooses and sorts names for a word."""

    def __init__(self, usage: Mapping[str, int] | None = None) -> None:
        self._usage = usage or {}

    def select(self, word: str, names: Iterable[str]) -> list[str]:
        """The best of the names that the word may become: its beginnings and what contains it; without any, its letters in order."""
        every = list(names)
        found = [name for name in every if name.startswith(word)]
        if len(found) > MOST:
            return self._best(found)
        if len(found) < MOST and word:
            folded = list(zip(map(str.lower, every), every, strict=True))
            small = word.lower()
            found += [name for text, name in folded if small in text and not name.startswith(word)]
            found = found or _with_letters(small, folded)
        return found[:MOST]

    def _best(self, names: list[str]) -> list[str]:
        """As many of equally good names as are shown: those in use, then by the alphabet."""
        usage = self._usage
        used = [name for name in names if name in usage] if usage else []
        used.sort(key=lambda name: (-usage.get(name, 0), name))
        return list(dict.fromkeys([*used, *heapq.nsmallest(MOST, names)]))[:MOST]

    def sort(self, word: str, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Candidates in the order in which they are shown."""
        cut = max(word.rfind(mark) + 1 for mark in ".=")

        def order(one: Candidate) -> tuple[tuple[int, int, int], int, int, bool, str]:
            return (
                _quality_behind(word, one.text, cut),
                _PRIORITY.get(one.kind, len(_KINDS)),
                -self._usage.get(one.text, 0),
                one.text.startswith("_", cut),  # `_target_` is for those who look for it
                one.text,
            )

        return sorted(candidates, key=order)


def quality(word: str, name: str) -> tuple[int, int, int]:
    """How well a name fits a word, smaller is better: the kind of match, then how far its letters lie apart, then where."""
    if not word or name == word:
        return (0, 0, 0)
    if name.startswith(word):
        return (1, 0, 0)
    small, text = word.lower(), name.lower()
    at = text.find(small)
    if at == 0:
        return (2, 0, 0)
    if at > 0:
        starts = [position for position in _positions(text, small) if text[position - 1] in _PARTS]
        return (3, 0, starts[0]) if starts else (4, 0, at)
    return _letters(small, text)


def _quality_behind(word: str, text: str, cut: int) -> tuple[int, int, int]:
    """The quality of what stands behind the steps that are typed already; their end says nothing about the match."""
    if cut and text[:cut] == word[:cut]:
        word, text = word[cut:], text[cut:]
    return quality(word, text.rstrip(".=") or text)


def _positions(text: str, part: str) -> list[int]:
    return [match.start() for match in re.finditer(f"(?={re.escape(part)})", text)]


def _letters(word: str, text: str) -> tuple[int, int, int]:
    """The shortest stretch of a text that holds the letters of a word in order."""
    best = _NO_MATCH
    for start in range(len(text)):
        if text[start] != word[0]:
            continue
        at = start
        for letter in word[1:]:
            at = text.find(letter, at + 1)
            if at < 0:
                return best
        best = min(best, (5, at - start, start))
    return best


def _with_letters(word: str, folded: list[tuple[str, str]]) -> list[str]:
    """The shortest names that hold the letters of a word in order, whatever stands between."""
    for letter, count in Counter(word).items():  # most names lack one of them, which is found out much quicker
        folded = [pair for pair in folded if letter in pair[0] and (count == 1 or pair[0].count(letter) >= count)]
    matches = re.compile("".join(f"[^{letter}]*{letter}" for letter in map(re.escape, word)), re.DOTALL).match
    return sorted([name for text, name in folded if matches(text)], key=len)[:MOST]
