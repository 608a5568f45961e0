"""What became of the rows: how many were used, and which were not, by reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loss", "Report", "hint_for"]

_NAMED: Final = 5
# By the beginning of a reason, what helps when all rows are lost for it.
_WAYS_OUT: Final = {
    "no chat template": "choose one with tokenizer.chat_template (--chat-template), such as chatml",
    "the template refuses": "choose another with --chat-template, or mend the rows",
    "nothing to learn in the first": "raise dataset.max_length, or shorten the rows",
    "nothing to learn": "dataset.train_on says what is learned: assistant, completion, last or all",
    "no column": "name the column that has it, with dataset.column or dataset.columns",
    "the column": "name the column that has it, with dataset.column or dataset.columns",
    "unknown role": "say with dataset.tags whose messages these are",
}
_LOOK: Final = "`forge data show` prints rows beside what becomes of them"


def hint_for(reason: str) -> str:
    """What to do about a dataset that is lost for this reason."""
    return next((way for beginning, way in _WAYS_OUT.items() if reason.startswith(beginning)), _LOOK)


@dataclass(slots=True)
class Loss:
    """Rows that were lost for one reason: their number, and the first of them with what was wrong there.

    ``place`` is where the very first of them stands, once that has been looked up; it is no part of what is kept of prepared rows,
    because the same rows may stand in another file by then.
    """

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)
    place: str = ""

    def add(self, row: int, detail: str = "") -> None:
        """Count one more row."""
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append((row, detail))


@dataclass(slots=True)
class Report:
    """Rows read and sequences made of them; rows not used, or used in part, by reason. Rows are numbered from 0."""

    rows: int = 0
    examples: int = 0
    sequences: int = 0
    tokens: int = 0
    trained: int = 0  # tokens that are learned
    dropped: dict[str, Loss] = field(default_factory=dict)
    shortened: dict[str, Loss] = field(default_factory=dict)

    def drop(self, reason: str, row: int, detail: str = "") -> None:
        """Count a row that is not used."""
        self.dropped.setdefault(reason, Loss()).add(row, detail)

    def shorten(self, reason: str, row: int, detail: str = "") -> None:
        """Count a row that is used in part."""
        self.shortened.setdefault(reason, Loss()).add(row, detail)

    def locate(self, place_of: Callable[[int], str]) -> None:
        """Look up where the first row of each reason stands, unless that is known."""
        for loss in (*self.dropped.values(), *self.shortened.values()):
            loss.place = loss.place or place_of(loss.first[0][0])

    def copy(self) -> Report:
        """The same figures, to be counted on from."""
        return Report.from_json(self.to_json())

    def add(self, other: Report) -> None:
        """Count what another part of the same data gave."""
        for name in ("rows", "examples", "sequences", "tokens", "trained"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind in ("dropped", "shortened"):
            for reason, loss in getattr(other, kind).items():
                ours = getattr(self, kind).setdefault(reason, Loss(place=loss.place))
                ours.count += loss.count
                ours.first = [*ours.first, *loss.first][:_NAMED]

    def lost_since(self, told: Report, times: int = 1) -> Report:
        """The same figures, with those reasons alone that ``told`` does not know, or for which it has fewer rows by so many times."""
        found = self.copy()
        for kind in ("dropped", "shortened"):
            known = getattr(told, kind)
            for reason, loss in getattr(self, kind).items():
                before = known[reason].count if reason in known else 0
                if loss.count <= before or loss.count < before * times:
                    del getattr(found, kind)[reason]
        return found

    def most_frequent(self) -> str:
        """The reason for which most rows are not used, or an empty one."""
        return max(self.dropped, key=lambda reason: self.dropped[reason].count, default="")

    def lines(self) -> list[str]:
        """One line for each reason, the most frequent first."""
        found = []
        for what, losses in (("not used", self.dropped), ("used in part", self.shortened)):
            for reason, loss in sorted(losses.items(), key=lambda item: -item[1].count):
                row, detail = loss.first[0]
                about = ": ".join(filter(None, (loss.place, detail)))
                shown = f" ({about})" if about else ""
                found.append(f"{loss.count:,} of {self.rows:,} rows {what}: {reason}; the first is row {row}{shown}")
        return found

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Report:
        """The report that `to_json` made plain."""
        losses = {
            kind: {
                reason: Loss(loss["count"], [(row, detail) for row, detail in loss["first"]], loss["place"])
                for reason, loss in found[kind].items()
            }
            for kind in ("dropped", "shortened")
        }
        return cls(**{**found, **losses})
