"""Amounts as people write them: ``24GB`` of memory, ``1.5B`` tokens."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["parse_amount", "parse_size", "shown_count"]

_SIZES: Final = {
    "": 1.0,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "t": 1e12,
    "ki": 2.0**10,
    "mi": 2.0**20,
    "gi": 2.0**30,
    "ti": 2.0**40,
}
_COUNTS: Final = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_AMOUNT: Final = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]{1,2})?|\.[0-9]+)\s*([a-z]*)", re.IGNORECASE)
_UNITS: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def parse_size(text: str) -> float:
    """Bytes: ``24GB``, ``24GiB`` or ``24G``; ValueError for anything else."""
    number, unit = _parts(text, "a size, such as 24GB")
    unit = unit.removesuffix("b") if unit != "b" else ""
    if unit not in _SIZES or not number:
        raise ValueError(f"{text!r} is no size: write 24GB or 80GiB")
    return number * _SIZES[unit]


def parse_amount(text: str) -> int:
    """A count: ``1.5B``, ``300M`` or ``4096``; ValueError for anything else."""
    number, unit = _parts(text, "an amount, such as 300M")
    if unit not in _COUNTS or number * _COUNTS[unit] < 1:
        raise ValueError(f"{text!r} is no amount: write 300M or 1.5B")
    return round(number * _COUNTS[unit])


def shown_count(number: float) -> str:
    """``6.7B`` for 6,738,415,616, in the largest unit of which there is at least one."""
    return next((f"{number / unit:.1f}{name}" for unit, name in _UNITS if number >= unit * 0.99995), f"{number:.0f}")


def _parts(text: str, wanted: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(found[1].replace("_", "").replace(",", "")), found[2].lower()
