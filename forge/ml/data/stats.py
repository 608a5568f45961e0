"""The figures of a set of rows: how many are used, how long they are, how much is learned, how well they are packed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forge.ml.data.display import painted, visible, wrapped
from forge.ml.data.histogram import bars, binned, picture_of
from forge.ml.data.sets import remarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.data.display import StyledLine
    from forge.ml.data.histogram import Bin
    from forge.ml.data.sets import RowSet

__all__ = ["Figures", "drawn_figures", "figures_json", "figures_of", "figures_svg"]

_WIDEST: Final = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """What is to be known about a set of rows. ``lengths`` are those of whole examples, before anything is cut or packed."""

    name: str
    part: bool
    rows: int
    examples: int
    tokens: int
    learned: int
    sequences: int
    max_length: int
    packing: str
    filled: float
    lengths: dict[str, int]
    remarks: list[str]
    bins: list[Bin]


def figures_of(found: RowSet, tokenizer: Any) -> Figures:
    """The figures of a set."""
    split, report = found.split, found.split.report
    lengths = split.tokens.lengths
    return Figures(
        name=found.name,
        part=found.part,
        rows=report.rows,
        examples=report.examples,
        tokens=report.tokens,
        learned=report.trained,
        sequences=report.sequences,
        max_length=split.max_length,
        packing=split.packing,
        filled=split.efficiency,
        lengths=_lengths(lengths),
        remarks=remarks(found, tokenizer),
        bins=binned(lengths),
    )


def _lengths(lengths: np.ndarray) -> dict[str, int]:
    if not len(lengths):
        return {}
    ranks = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: int(np.quantile(lengths, rank, method="higher")) for name, rank in ranks.items()}


def figures_json(figures: Figures) -> dict[str, Any]:
    """The same for programs."""
    return asdict(figures)


def drawn_figures(figures: Figures, *, width: int, colour: bool) -> str:
    """The figures and the histogram for the terminal."""
    lines: list[StyledLine] = [[(figures.name, "head"), (_about(figures), "dim")]]
    lines += [[(f"  {name:<10}", "dim"), (fact, "plain")] for name, fact in _facts(figures)]
    lines += [line for remark in figures.remarks for line in wrapped([("  " + visible(remark), "lost")], width)]
    lines += [[], [("  tokens of an example, and how many examples have so many", "dim")]]
    drawn = bars(figures.bins, min(width, _WIDEST) - 2, limit=figures.max_length)
    lines += [[("  ", "plain"), (label, "dim"), (bar, "bar"), (count, "plain")] for label, bar, count in drawn]
    return "\n".join(painted(line, colour=colour).rstrip() for line in lines)


def figures_svg(found: Sequence[Figures]) -> str:
    """The figures and the histograms of all sets as one picture."""
    return picture_of(
        [
            (
                each.name + _about(each),
                [*(f"{name}: {fact}".replace("   ", " · ") for name, fact in _facts(each)), *each.remarks],
                each.bins,
                each.max_length,
            )
            for each in found
        ]
    )


def _about(figures: Figures) -> str:
    return ", the first rows of a stream" if figures.part else ""


def _facts(figures: Figures) -> list[tuple[str, str]]:
    unused = figures.rows - figures.examples
    share = figures.learned / figures.tokens if figures.tokens else 0.0
    lengths = "   ".join(f"{name} {value:,}" for name, value in figures.lengths.items())
    return [
        ("rows", f"{figures.rows:,}, {figures.examples:,} used, {unused:,} not used"),
        ("tokens", f"{figures.tokens:,}, {figures.learned:,} of them learned ({share:.1%})"),
        ("lengths", lengths or "none"),
        ("sequences", f"{figures.sequences:,} of at most {figures.max_length:,} tokens, {_packing(figures)}"),
    ]


def _packing(figures: Figures) -> str:
    if figures.packing == "none":
        return f"not packed: they fill {figures.filled:.1%} of that room"
    return f"packed ({figures.packing}): {figures.filled:.2%} filled"
