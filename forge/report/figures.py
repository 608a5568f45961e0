"""The figures that a run has written, read while it writes them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from forge.base.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LoggedFigures", "Points", "Record"]

Record: TypeAlias = "dict[str, Any]"
Points: TypeAlias = "list[tuple[float, float]]"
"""A figure at each of some steps, in their order."""

_METRICS: Final = "metrics.jsonl"
_PORTION: Final = 4 << 20
_LONGEST: Final = 1 << 20  # a line
_MOST: Final = 1 << 30  # of the file
_LARGEST: Final = 1e300  # what is larger cannot be drawn


class LoggedFigures:
    """What stands in a run's ``metrics.jsonl``: its logged steps, evaluations and events; `update` reads what has come since.

    Steps that a resumed run takes again replace those that were lost.
    """

    def __init__(self, run_folder: str) -> None:
        self.steps: list[Record] = []
        self.evaluations: list[Record] = []
        self.events: list[Record] = []
        self._path = os.path.join(run_folder, _METRICS)
        self._place = 0
        self._file: tuple[int, int] | None = None
        self.update()

    def update(self) -> bool:
        """Read the lines that are complete by now; whether there were any."""
        found = list(self._lines())
        for line in found:
            self._take(line)
        return bool(found)

    def series(self, name: str) -> Points:
        """A figure of the logged steps, without those that were no number; ``seconds.forward`` lies in another."""
        return _points(self.steps, name)

    def evaluated(self) -> dict[str, Points]:
        """The loss on each held-out set."""
        names = dict.fromkeys(str(one.get("dataset", "")) for one in self.evaluations)
        return {
            name: _points([one for one in self.evaluations if one.get("dataset") == name], "eval_loss")
            for name in names
        }

    def last(self, name: str) -> float | None:
        """The newest of a figure."""
        points = self.series(name)
        return points[-1][1] if points else None

    def mean(self, name: str, count: int | None = None) -> float | None:
        """The mean of a figure, over the last logged steps or all; the first step, which warms up, is left out if it can be."""
        values = [value for _, value in self.series(name)]
        values = (values[1:] or values)[-count:] if count else values[1:] or values
        return sum(values) / len(values) if values else None

    def step_seconds(self, count: int = 20) -> float | None:
        """How long one of the last steps took, on average."""
        taken = [sum(one["seconds"].values()) for one in self.steps if isinstance(one.get("seconds"), dict)]
        taken = (taken[1:] or taken)[-count:]
        return sum(taken) / len(taken) if taken else None

    def _lines(self) -> Iterator[Record]:
        try:
            with open_regular(self._path) as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._file or found.st_size < self._place:
                    self._begin_again((found.st_dev, found.st_ino))  # the run has taken away a torn line
                file.seek(self._place)
                rest = b""
                while self._place < _MOST and (data := file.read(_PORTION)):
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self._place += len(line) + 1
                        yield from _record(line)
                    if len(rest) > _LONGEST:  # no run writes such a line, nor what is behind it
                        return
        except OSError:
            return

    def _begin_again(self, file: tuple[int, int]) -> None:
        self._file, self._place = file, 0
        for found in (self.steps, self.evaluations, self.events):
            found.clear()

    def _take(self, record: Record) -> None:
        if "event" in record:
            if record["event"] == "resumed":
                self._forget_behind(record["step"])
            self.events.append(record)
        elif "eval_loss" in record:
            self.evaluations.append(record)
        else:
            self.steps.append(record)

    def _forget_behind(self, step: int) -> None:
        for found in (self.steps, self.evaluations):
            found[:] = [one for one in found if one["step"] <= step]


def _record(line: bytes) -> Iterator[Record]:
    """A line as a record; nothing for what no run of this version writes."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict) and isinstance(found.get("step"), int) and abs(found["step"]) < _LARGEST:
        yield found


def _points(records: list[Record], name: str) -> Points:
    outer, _, inner = name.partition(".")
    found = []
    for record in records:
        value = record.get(outer)
        if inner:
            value = value.get(inner) if isinstance(value, dict) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST:
            found.append((float(record["step"]), float(value)))
    return found
