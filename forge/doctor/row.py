"""One row of the doctor's table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SECTIONS", "DoctorRow", "RowVerdict", "row_data", "row_of"]

RowVerdict = Literal["good", "warning", "bad"]

SECTIONS: Final = ("software", "names", "network", "between hosts", "storage", "machine", "GPUs", "surroundings")
"""The parts of the table, in their order."""


@dataclass(frozen=True)
class DoctorRow:
    """What was looked at, what was found, whether that is good, and what to do if it is not."""

    section: str
    name: str
    verdict: RowVerdict
    found: str
    remedy: str = ""
    host: str = ""

    def __post_init__(self) -> None:
        if self.section not in SECTIONS or self.verdict not in ("good", "warning", "bad"):
            raise ValueError(f"no row of the doctor's: {self.section}, {self.verdict}")


def row_data(row: DoctorRow) -> dict[str, Any]:
    """A row as plain data."""
    return asdict(row)


def row_of(data: Mapping[str, Any], host: str) -> DoctorRow:
    """A row that another host has sent; ValueError or TypeError for what is none."""
    texts = {name: str(data.get(name, "")) for name in ("section", "name", "found", "remedy")}
    verdict: Any = data.get("verdict")
    return DoctorRow(verdict=verdict, host=host, **texts)
