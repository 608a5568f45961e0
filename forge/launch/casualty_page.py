"""The page about a rank that died, hangs or has lost its numbers: who, why, and what every rank did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.base.origin import shown_path
from forge.launch.rank_facts import GONE, STOPPED, exit_words, rank_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.launch.casualty import Verdict
    from forge.launch.rank_facts import CallFrame, RankFacts

__all__ = ["casualty_page"]

_MOST_ROWS: Final = 16
_MOST_STACKS: Final = 3
_MOST_FRAMES: Final = 8
_MOST_WORDS: Final = 600


def casualty_page(ranks: Sequence[RankFacts], verdict: Verdict, *, when: str, run: str, then: str, details: str) -> str:
    """The report: who, why, what every rank did, and what becomes of the run."""
    ordered = sorted(ranks, key=lambda one: (one.rank not in verdict.ranks, one.rank))
    lines = [f"casualty: {verdict}", f"{when}, run {shown_path(run)}", "", *_table(ordered)]
    unheard = ranks[0].size - len(ranks) if ranks else 0
    if unheard:
        lines.append(f"of {unheard} more rank{'s' * (unheard > 1)} nothing was heard: their node does not answer")
    lines += [*_stacks(ordered), *_words(ordered), "", then, f"every thread of every rank: {shown_path(details)}"]
    return "\n".join(lines) + "\n"


def _table(ranks: Sequence[RankFacts]) -> list[str]:
    rows = [("rank", "host", "process", "step", "in", "since", "state")]
    rows += [
        (str(one.rank), one.host, str(one.pid), str(one.step), one.phase, f"{one.idle:.0f} s", _condition(one))
        for one in ranks[:_MOST_ROWS]
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    found = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(ranks) > _MOST_ROWS:
        found.append(f"and {len(ranks) - _MOST_ROWS} more ranks")
    return found


def _condition(one: RankFacts) -> str:
    if one.state == GONE:
        return exit_words(one.code)
    if one.state in STOPPED:
        return "stopped" if one.state == "T" else "held by a debugger"
    if one.state == "D":
        return "in a system call that cannot be interrupted"
    waits = ("not in a collective", "may wait for its device", "waits for others")[one.waits]
    return waits if one.stack else "gave no stack"


def _stacks(ranks: Sequence[RankFacts]) -> list[str]:
    """The stacks, one for all ranks that have the same."""
    groups: dict[tuple[CallFrame, ...], list[RankFacts]] = {}
    for one in ranks:
        groups.setdefault(one.stack, []).append(one)
    lines: list[str] = []
    for stack, some in list(groups.items())[:_MOST_STACKS]:
        shown = [f"  {frame}" for frame in stack[:_MOST_FRAMES]] or ["  no stack: it was gone at once"]
        more = [f"  and {len(stack) - _MOST_FRAMES} calls more"] * (len(stack) > _MOST_FRAMES)
        lines += ["", f"{rank_names(some)}, innermost call first", *shown, *more]
    return lines


def _words(ranks: Sequence[RankFacts]) -> list[str]:
    said: dict[str, list[RankFacts]] = {}
    for one in ranks:
        if one.words:
            said.setdefault(one.words[:_MOST_WORDS], []).append(one)
    return [
        line for words, some in list(said.items())[:_MOST_STACKS] for line in ("", f"{rank_names(some)} said: {words}")
    ]
