"""When a word is so near to another one that it can only be a slip of the fingers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["surely_meant"]

_SHORTEST: Final = 4
_LONG: Final = 8


def surely_meant(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``word`` is a slip of: one edit away, two in a long word; None when nothing is that near.

    Names that differ by a number, a prefix or a suffix are different names (`int7`, `LlamaTokenizerFast`,
    `datasets`), not slips.
    """
    if len(word) < _SHORTEST:
        return None
    allowed = 2 if len(word) >= _LONG else 1
    best: tuple[int, str] | None = None
    for candidate in candidates:
        if not _comparable(word, candidate, allowed):
            continue
        distance = _edits(word, candidate)
        if 0 < distance <= allowed and (best is None or (distance, candidate) < best):
            best = (distance, candidate)
    return best[1] if best else None


def _comparable(word: str, candidate: str, allowed: int) -> bool:
    if abs(len(word) - len(candidate)) > allowed or len(candidate) < _SHORTEST:
        return False
    # Two slips rarely hit both ends of a word; this spares most of a long list.
    if word[:2] != candidate[:2] and word[-2:] != candidate[-2:]:
        return False
    if word.startswith(candidate) or candidate.startswith(word) or word.endswith(candidate) or candidate.endswith(word):
        return False
    return [c for c in word if c.isdigit()] == [c for c in candidate if c.isdigit()]


def _edits(one: str, two: str) -> int:
    """Letters to change, add, drop or swap with their neighbour."""
    before: list[int] = []
    row = list(range(len(two) + 1))
    for i, letter in enumerate(one, 1):
        above, row, older = row, [i], before
        for j, other in enumerate(two, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == two[j - 2] and one[i - 2] == other:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]
