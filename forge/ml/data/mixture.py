"""Several datasets in one row of sequences, each as often as its weight says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forge.base.errors import DataError
from forge.ml.data.order import permuted
from forge.ml.data.report import Report

if TYPE_CHECKING:
    from forge.ml.data.feed import Sequence, SequenceFeed
    from forge.ml.data.split import Split
    from forge.ml.data.stream import Stream

__all__ = ["Mixed", "MixedFeed", "shares"]

_BLOCK: Final = 1024
_FINEST: Final = 16  # the dataset of the least weight has at least so many places in a block


@dataclass(frozen=True, eq=False)
class Mixed:
    """Prepared datasets and their weights; without weights each sequence is seen once an epoch."""

    parts: dict[str, Split | Stream]
    weights: dict[str, float] | None
    seed: int

    def __post_init__(self) -> None:
        streams = [name for name, part in self.parts.items() if not hasattr(part, "__len__")]
        if self.weights is None and streams:
            raise DataError(
                f"how often {streams[0]} comes in the mixture is not known, because it is a stream",
                hint="give the mixture weights",
            )

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())

    @property
    def max_length(self) -> int:
        """How many tokens a sequence has at most."""
        return next(iter(self.parts.values())).max_length

    @property
    def packed(self) -> bool:
        """Whether a sequence may hold several documents."""
        return next(iter(self.parts.values())).packed

    @property
    def report(self) -> Report:
        """The figures of all datasets together."""
        total = Report()
        for part in self.parts.values():
            total.add(part.report)
        return total

    def feed(self, seed: int) -> MixedFeed:
        """Sequences of all datasets, in an order that the seed decides."""
        feeds = {name: part.feed(seed) for name, part in self.parts.items()}
        return MixedFeed(feeds, self.weights, (seed, self.seed))


class MixedFeed:
    """Sequences of several feeds.

    In each block of places every feed has its share, and the places of a block are dealt out by a permutation. A cursor is
    the place, and a cursor of each feed.
    """

    def __init__(self, feeds: dict[str, SequenceFeed], weights: dict[str, float] | None, key: tuple[int, int]) -> None:
        self.feeds = feeds
        self.weights = weights
        self.key = key
        lengths = [feed.length for feed in feeds.values()]
        self.length = None if None in lengths else sum(lengths)
        self.shares = lengths if weights is None else shares([weights[name] for name in feeds])

    def facts(self) -> dict[str, Any]:
        """What has to be the same for a cursor to mean the same."""
        found: dict[str, Any] = {"weights": self.weights, "mixture seed": self.key[1]}
        for name, feed in self.feeds.items():
            found |= {f"{name}: {what}": fact for what, fact in feed.facts().items()}
        return found

    def start(self) -> dict[str, Any]:
        """The cursor of a run that begins."""
        return {"place": 0, "parts": {name: feed.start() for name, feed in self.feeds.items()}}

    def take(self, cursor: dict[str, Any], count: int) -> tuple[list[Sequence], dict[str, Any]]:
        """The next sequences, and the cursor behind them."""
        chosen = self._chosen(cursor["place"], count)
        parts, taken = dict(cursor["parts"]), {}
        for number, (name, feed) in enumerate(self.feeds.items()):
            wanted = int(np.count_nonzero(chosen == number))
            if wanted:
                found, parts[name] = feed.take(parts[name], wanted)
                taken[number] = iter(found)
        return [next(taken[number]) for number in chosen.tolist()], {"place": cursor["place"] + count, "parts": parts}

    def epoch(self, cursor: dict[str, Any]) -> float:
        """How many epochs lie before a cursor: as many sequences as all datasets have, or each stream once to its end."""
        if self.length is not None:
            return cursor["place"] / self.length
        return min(feed.epoch(cursor["parts"][name]) for name, feed in self.feeds.items())

    def close(self) -> None:
        """End what works in the background."""
        for feed in self.feeds.values():
            feed.close()

    def _chosen(self, first: int, count: int) -> np.ndarray:
        """The number of the feed at each place."""
        block, ends = sum(self.shares), np.cumsum(self.shares)
        places = np.arange(first, first + count)
        dealt = np.empty(count, dtype=np.int64)
        for number in range(first // block, (first + count - 1) // block + 1):
            within = places // block == number
            dealt[within] = permuted(block, (*self.key, number), places[within] % block)
        return np.searchsorted(ends, dealt, side="right")


def shares(weights: list[float]) -> list[int]:
    """How many places of a block each weight gets: whole numbers, as near to the weights as can be."""
    parts = np.array(weights, dtype=np.float64) / sum(weights)
    block = max(_BLOCK, int(np.ceil(_FINEST / parts.min())))
    exact = parts * block
    found = np.floor(exact).astype(np.int64)
    # What rounding down has left goes to those that lost the most by it.
    missing = block - int(found.sum())
    found[np.argsort(found - exact, kind="stable")[:missing]] += 1
    return found.tolist()
