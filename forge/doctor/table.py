"""The doctor's rows as a table for people: a verdict, what was found, and below it what to do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from forge.doctor.row import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from forge.doctor.row import DoctorRow, RowVerdict

__all__ = ["plain_table", "table_of", "table_summary"]

_VERDICTS: Final[tuple[RowVerdict, ...]] = ("bad", "warning", "good")
_COLOURS: Final = {"bad": "\x1b[1;31m", "warning": "\x1b[35m", "good": "\x1b[32m"}
_BOLD: Final = "\x1b[1m"
_OFF: Final = "\x1b[0m"
_VERDICT: Final = 7
_NARROWEST: Final = 24
_WIDEST: Final = 120
_NAME: Final = 18
_FEW: Final = 4
_REMEDY: Final = "-> "


def table_of(rows: Sequence[DoctorRow], *, width: int, colour: bool) -> str:
    """The table, no wider than that, with a line at its end that counts."""
    rows = _merged(rows)
    names = min(max((len(row.name) for row in rows), default=0), _NAME)
    hosts = max((len(row.host) for row in rows), default=0)
    lines: list[str] = []
    for section in SECTIONS:
        of_it = [row for row in rows if row.section == section]
        if of_it:
            lines += [*([""] if lines else []), f"{_BOLD}{section}{_OFF}" if colour else section]
        for row in of_it:
            lines += _lines(row, names, hosts, min(width, _WIDEST), colour=colour)
    return "\n".join([*lines, "", table_summary(rows)])


def plain_table(rows: Sequence[DoctorRow]) -> str:
    """One line a row, however long, for `grep` and the like."""
    widths = [max(map(len, column), default=0) for column in zip(*map(_cells, rows), strict=True)]
    lines = []
    for row in rows:
        head = "  ".join(map(str.ljust, _cells(row), widths))
        remedy = f" {_REMEDY}{row.remedy}" if row.remedy else ""
        lines.append(f"{head}  {row.found}{remedy}")
    return "\n".join([*lines, table_summary(rows)])


def table_summary(rows: Iterable[DoctorRow]) -> str:
    """How many of each verdict there are."""
    counts = dict.fromkeys(_VERDICTS, 0)
    for row in rows:
        counts[row.verdict] += 1
    warnings = f"{counts['warning']} warning{'s' * (counts['warning'] != 1)}"
    return f"{counts['bad']} bad, {warnings}, {counts['good']} good"


def _cells(row: DoctorRow) -> tuple[str, ...]:
    return (row.verdict, row.section, row.name, *([row.host] if row.host else ["-"]))


def _merged(rows: Sequence[DoctorRow]) -> list[DoctorRow]:
    """What is the same on all hosts once; of many hosts also what is well on all of them."""
    from dataclasses import replace

    # One that is not reached has a row that says so, and no others.
    hosts = list(dict.fromkeys(row.host for row in rows if row.host and row.section != "between hosts"))
    found: list[DoctorRow] = []
    done: set[tuple[str, str]] = set()
    for row in rows:
        if row.host not in hosts or len(hosts) == 1:
            found.append(row)
            continue
        key = row.section, row.name
        if key in done:
            continue
        done.add(key)
        same = [other for other in rows if (other.section, other.name) == key and other.host]
        everywhere = {other.host for other in same} == set(hosts)
        if everywhere and len({(other.verdict, other.found, other.remedy) for other in same}) == 1:
            found.append(replace(row, host="all"))
        elif everywhere and len(hosts) > _FEW and all(other.verdict == "good" for other in same):
            found.append(replace(row, host="all", found=f"well on all {len(hosts)} (--plain shows each)"))
        else:
            found += same
    return found


def _lines(row: DoctorRow, names: int, hosts: int, width: int, *, colour: bool) -> list[str]:
    verdict = f"{row.verdict:<{_VERDICT}}"
    if colour:
        verdict = f"{_COLOURS[row.verdict]}{verdict}{_OFF}"
    host = f"{row.host:<{hosts}}  " if hosts else ""
    left = 2 + _VERDICT + 2 + names + 2 + len(host)
    room = max(width - left, _NARROWEST)
    name = f"{row.name:<{names}}"
    # A name that is too long has a line of its own.
    lines = [f"  {verdict}  {row.name}".rstrip()] if len(row.name) > names else []
    head = f"  {' ' * _VERDICT if lines else verdict}  {' ' * names if lines else name}  {host}"
    says = _wrapped(row.found, room)
    lines += [f"{head}{says[0]}".rstrip(), *(f"{' ' * left}{line}" for line in says[1:])]
    for place, line in enumerate(_wrapped(row.remedy, room - len(_REMEDY)) if row.remedy else []):
        lines.append(f"{' ' * left}{_REMEDY if place == 0 else ' ' * len(_REMEDY)}{line}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
