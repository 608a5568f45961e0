"""What a benchmark prints and writes: tables, the machine it ran on, and its section of a page."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["NONE", "Table", "Verdict", "duration", "machine", "ratio_text", "with_section"]

NONE = "-"


class Verdict(NamedTuple):
    """A budget as it is shown, and whether it was met; None where nothing could be compared."""

    budget: str = NONE
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, str]:
        """The last two cells of a row."""
        return self.budget, NONE if self.met is None else "yes" if self.met else "**no**"


class Table(NamedTuple):
    """A table with a title and a sentence of explanation; its last two columns are the budget and whether it is met."""

    title: str
    text: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as Markdown whose columns line up, so that it reads well in a terminal too."""
        lines = [(*self.head, "budget", "met?"), *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rules = ["-" * width if number == 0 else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
        return "\n".join(
            [f"### {self.title}", "", self.text, "", _line(lines[0], widths), _line(rules, widths)]
            + [_line(line, widths) for line in lines[1:]]
        )

    @property
    def unmet(self) -> list[str]:
        """The rows whose budget is not met."""
        return [f"{self.title}: {', '.join(row[:2])}" for row in self.rows if row[-1] == "**no**"]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(aligned)} |"


def duration(seconds: float) -> str:
    """A duration in milliseconds with three digits that mean something."""
    milliseconds = seconds * 1000
    digits = 0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2 if milliseconds >= 1 else 3
    return f"{milliseconds:,.{digits}f}"


def ratio_text(ratio: float) -> str:
    """A ratio with as many digits as can be believed."""
    return f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"


def machine() -> str:
    """When and on what: the date, cores, kind of processor, Python, and how busy the machine was."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = f", load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    now = datetime.now(tz=timezone.utc)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{now:%Y-%m-%d %H:%M} UTC; {cores} cores, {_processor()}; {python}, {platform.system()}{busy}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text, re.MULTILINE))
    name = re.sub(r"\((?:R|TM)\)", "", fields.get("model name", platform.machine()))
    return f"{name} family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"


def with_section(path: Path, title: str, body: str) -> str:
    """The text of a page with one ``##`` section replaced, or added at the end when the page does not have it."""
    old = path.read_text() if path.exists() else "# Performance\n"
    section = f"## {title}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if not pattern.search(old):
        return f"{old.rstrip()}\n\n{section}"
    return pattern.sub(lambda _: section + "\n", old).rstrip() + "\n"
