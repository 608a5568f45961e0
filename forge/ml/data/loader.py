"""The batches of a run, step after step: the same for any number of processes, and from any step on."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from forge.base.errors import ResumeError
from forge.ml.data.collate import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from forge.ml.data.batch import Batch
    from forge.ml.data.prepare import Sequences
    from forge.ml.data.split import Split

__all__ = ["Loader", "evaluation_batches"]


class Loader:
    """Gives one process its batches of each optimizer step.

    A step takes the next ``world * batch_size * accumulation`` sequences of an endless row, in which each epoch follows the one
    before without a gap: a step that an epoch cannot fill is filled from the next, so that in every epoch each sequence comes once.
    While a step runs, a thread makes the batches of the next one; `state` speaks of what `next` has given, not of what
    that thread has made. The state does not depend on the number of processes nor on the size of a batch.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        batch_size: int,
        accumulation: int = 1,
        seed: int,
        rank: int = 0,
        world: int = 1,
        pad_id: int,
        flat: bool,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank is from 0 to {world - 1}, not {rank}")
        if batch_size < 1 or accumulation < 1:
            raise ValueError(f"batch_size and accumulation are at least 1, not {batch_size} and {accumulation}")
        self.batch_size, self.accumulation, self.rank, self.world = batch_size, accumulation, rank, world
        self.pad_id, self.flat = pad_id, flat
        self._feed = sequences.feed(seed)
        self._cursor = self._feed.start()
        self._taken = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forge-loader")
        self._coming: Future[tuple[list[Batch], Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def global_batch(self) -> int:
        """The sequences of one optimizer step, in all processes together."""
        return self.world * self.batch_size * self.accumulation

    @property
    def steps_per_epoch(self) -> int | None:
        """The optimizer steps after which each sequence has been seen; None when nobody knows before the end."""
        return self.steps(1.0)

    @property
    def epoch(self) -> float:
        """How many epochs have been given so far; of a stream, how many times it came to its end."""
        return self._feed.epoch(self._cursor)

    def steps(self, epochs: float) -> int | None:
        """The optimizer steps that this many epochs take; None when nobody knows before the end."""
        length = self._feed.length
        return None if length is None else max(1, math.ceil(round(epochs * length, 6) / self.global_batch))

    def next(self) -> list[Batch]:
        """The batches of this process for the next optimizer step, one for each pass of the accumulation."""
        coming = self._coming or self._thread.submit(self._make, self._cursor)
        self._coming = None
        batches, self._cursor = coming.result()
        self._taken += self.global_batch
        self._coming = self._thread.submit(self._make, self._cursor)
        return batches

    def state(self) -> dict[str, Any]:
        """Where `next` stands, and what that depends on, as plain data."""
        return {"cursor": self._cursor, "taken": self._taken, "facts": self._feed.facts()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state; ResumeError when it belongs to other data or another order."""
        ours, theirs = self._feed.facts(), state["facts"]
        changed = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        if changed:
            raise ResumeError(
                f"the data is not what it was when this was saved; changed: {', '.join(changed)}",
                hint="put it back, or begin a new run from the weights of the checkpoint",
            )
        # What the thread has made already belongs to another place; it is one thread, so nothing is read twice at once.
        self._coming = None
        self._cursor, self._taken = state["cursor"], state["taken"]

    def close(self) -> None:
        """End the thread and all that works for it."""
        self._coming = None
        self._feed.close()
        self._thread.shutdown(cancel_futures=True)

    def _make(self, cursor: Any) -> tuple[list[Batch], Any]:
        sequences, cursor = self._feed.take(cursor, self.global_batch)
        first, stride = self.rank * self.batch_size, self.world * self.batch_size
        starts = range(first, self.global_batch, stride)
        return [self._batch(sequences[start : start + self.batch_size]) for start in starts], cursor

    def _batch(self, sequences: list[Any]) -> Batch:
        return batch_of(sequences, pad_id=self.pad_id, flat=self.flat)


def evaluation_batches(
    split: Split, *, batch_size: int, pad_id: int, flat: bool, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """The sequences of a split once, in their own order, as the batches of one process of ``world``.

    All processes get the same number of batches: one for which nothing is left gets a sequence of which nothing is learned.
    """
    for start in range(0, len(split), world * batch_size):
        first = start + rank * batch_size
        numbers = range(first, min(first + batch_size, len(split)))
        if numbers:
            yield batch_of([(split, number) for number in numbers], pad_id=pad_id, flat=flat)
        else:
            yield _blank(batch_of([(split, 0)], pad_id=pad_id, flat=flat))


def _blank(batch: Batch) -> Batch:
    from forge.ml.data.batch import IGNORED

    batch.targets.fill_(IGNORED)
    batch.tokens = batch.trained = 0
    batch.ids = ()
    return batch
