"""Rows that are read, encoded and packed while the run goes on, a window at a time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forge.base.errors import DataError
from forge.ml.data.order import permuted
from forge.ml.data.pool import Pool
from forge.ml.data.report import Report, hint_for
from forge.ml.data.source import place_of, rows_from
from forge.ml.data.split import Split, split_of
from forge.ml.data.tokens import Gathering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from forge.ml.data.feed import Sequence
    from forge.ml.data.pack import Overflow, Packing
    from forge.ml.data.worker import Job

__all__ = ["Stream", "StreamFeed"]

_WINDOW: Final = 2048


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows that become sequences in windows of ``window`` rows; each window is packed and shuffled by itself."""

    rows: Iterable[Any]
    job: Job
    max_length: int
    packing: Packing
    overflow: Overflow
    facts: Mapping[str, Any]
    workers: int | None = None
    source: int = 0
    window: int = _WINDOW
    _reports: list[Report] = field(default_factory=lambda: [Report()])

    @property
    def report(self) -> Report:
        """What became of the rows that have been read so far; another one when more are."""
        return self._reports[0]

    @property
    def packed(self) -> bool:
        """Whether a sequence may hold several documents."""
        return self.packing != "none"

    def feed(self, seed: int) -> StreamFeed:
        """The sequences from the beginning of the stream to its end, and then from its beginning again."""
        return StreamFeed(self, seed)


@dataclass(frozen=True, slots=True)
class _Window:
    split: Split
    following: int  # the first row of the next window; 0 when this is the last


class StreamFeed:
    """A stream as a run sees it.

    A cursor is the epoch, the first row of a window, and a place in that window: the window is read again to continue there.
    While one window is used, the next is made in the background, always by the same thread.
    """

    length = None

    def __init__(self, stream: Stream, seed: int) -> None:
        self.stream = stream
        self.seed = seed
        self._pool = Pool(stream.job, stream.workers)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forge-stream")
        self._windows: dict[int, Future[_Window]] = {}  # by their first rows: the one in use, and the one after it
        self._reading: tuple[int, Iterator[Any]] | None = None
        self._counted = 0  # rows before this one are in the report

    def facts(self) -> dict[str, Any]:
        """What has to be the same for a cursor to mean the same."""
        stream = self.stream
        about = {name: getattr(stream, name) for name in ("max_length", "packing", "overflow", "window")}
        return {**stream.facts, **about, "seed": self.seed}

    def start(self) -> list[int]:
        """The cursor of a run that begins."""
        return [0, 0, 0]

    def take(self, cursor: list[int], count: int) -> tuple[list[Sequence], list[int]]:
        """The next sequences, and the cursor behind them."""
        epoch, row, place = cursor
        found: list[Sequence] = []
        ends = 0
        while len(found) < count:
            window = self._window(row)
            numbers = self._order(window, epoch, row)[place : place + count - len(found)]
            found += [(window.split, number) for number in numbers]
            place += len(numbers)
            ends = 0 if numbers else ends + (window.following == 0)
            if place == len(window.split):
                epoch, row, place = epoch + (window.following == 0), window.following, 0
            if ends > 1:
                report = self.stream.report
                hint = "\n  ".join([*report.lines(), hint_for(report.most_frequent())])
                raise DataError("the stream has nothing to learn", hint=hint)
        return found, [epoch, row, place]

    def epoch(self, cursor: list[int]) -> float:
        """How many times the stream has come to its end."""
        return float(cursor[0])

    def close(self) -> None:
        """End the thread and the worker processes."""
        self._pool.close()
        self._thread.shutdown(cancel_futures=True)
        self._pool.close()  # a process that the thread was just starting

    def _order(self, window: _Window, epoch: int, row: int) -> list[int]:
        count = len(window.split)
        key = (self.seed, self.stream.source, epoch, row)
        return permuted(count, key, np.arange(count)).tolist() if count else []

    def _window(self, row: int) -> _Window:
        window = self._submitted(row).result()
        following = self._submitted(window.following)
        self._windows = {row: self._windows[row], window.following: following}
        return window

    def _submitted(self, row: int) -> Future[_Window]:
        if row not in self._windows:
            self._windows[row] = self._thread.submit(self._read, row)
        return self._windows[row]

    def _read(self, first: int) -> _Window:
        stream = self.stream
        at, rows = self._reading or (-1, iter(()))
        if at != first:
            rows = rows_from(stream.rows, first)
        content = list(islice(rows, stream.window))
        self._reading = (first + len(content), rows)
        following = first + len(content) if len(content) == stream.window else 0
        return _Window(self._split(content, first), following)

    def _split(self, rows: list[Any], first: int) -> Split:
        stream, report, gathering = self.stream, Report(), Gathering()
        for example in self._pool.examples(rows, report, first):
            gathering.add(*example)
        split = split_of(
            gathering.finish((gathering.shard(),)),
            report,
            max_length=stream.max_length,
            packing=stream.packing,
            overflow=stream.overflow,
            facts={},
            source=stream.source,
        )
        if first >= self._counted:
            total = stream.report.copy()
            total.add(split.report)
            total.locate(partial(place_of, stream.rows))
            stream._reports[0] = total  # noqa: SLF001 - of this module; at once: other threads look at it
            self._counted = first + len(rows)
        return split
