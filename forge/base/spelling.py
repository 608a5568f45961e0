"""Did you mean: the nearest of the names that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_CLOSE: Final = 0.6


def nearest(word: str, candidates: Iterable[str], *, limit: int = 3) -> list[str]:
    """The candidates that look most like ``word``, best first, none when nothing is close."""
    scored = sorted(((-_likeness(word, candidate), candidate) for candidate in set(candidates)), key=lambda pair: pair)
    return [candidate for score, candidate in scored if -score >= _CLOSE][:limit]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``did you mean 'model'?``, or an empty string when nothing is close."""
    found = nearest(word, candidates, limit=1)
    return f"did you mean {found[0]!r}?" if found else ""


def _likeness(word: str, candidate: str) -> float:
    """1 for equal; a whole dotted or underscored part, a prefix or suffix counts as close."""
    one, two = word.lower(), candidate.lower()
    if one == two:
        return 1.0
    from difflib import SequenceMatcher  # only after a mistake

    score = SequenceMatcher(None, one, two).ratio()
    separated = two.replace("/", ".").replace("-", ".").replace("_", ".").split(".")
    if len(one) > 2 and (one in separated or two.startswith(one) or two.endswith(one)):  # noqa: PLR2004 - two letters match anything
        score = max(score, 0.8)
    if sorted(one) == sorted(two):  # letters swapped
        score = max(score, 0.9)
    return score
