"""Timing of several ways to do one thing, in turn, in one process: what disturbs the machine disturbs all of them."""

from __future__ import annotations

import gc
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Contender", "Timing", "take_turns"]

_SAMPLE = 0.02
_LONG = 1.0


class Contender(NamedTuple):
    """One way to do it; ``peer`` says that it is not forge's, so that its failure is a result and not an error."""

    name: str
    call: Callable[[], Any]
    peer: bool = False


@dataclass
class Timing:
    """The seconds that one contender took in each round, or a note why there are none."""

    name: str
    seconds: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def least(self) -> float:
        """The quickest round."""
        return min(self.seconds)

    @property
    def middle(self) -> float:
        """The median of the rounds."""
        return median(self.seconds)


class _TooLongError(Exception):
    """A call went over its limit."""


def take_turns(contenders: Sequence[Contender], rounds: int, limit: float) -> tuple[list[Timing], list[Any]]:
    """Time all contenders in turn, and return what each of them answered (None when it failed).

    Each is called once to warm up. A contender that has used up ``limit`` seconds has no further rounds; a first call
    that takes longer than that is given up, and one that leaves no time for a round is the only figure there is.
    """
    timings = [Timing(contender.name) for contender in contenders]
    firsts = [_first(contender, timing, limit) for contender, timing in zip(contenders, timings, strict=True)]
    spent = [first.seconds for first in firsts]
    gc.collect()
    gc.freeze()  # the answers stay alive, and no later collection shall go through them
    for _ in range(rounds):
        for number, (contender, timing, first) in enumerate(zip(contenders, timings, firsts, strict=True)):
            if not timing.note and spent[number] < limit:
                gc.collect()
                timing.seconds.append(_seconds(contender.call, first.calls))
                spent[number] += timing.seconds[-1] * first.calls
    gc.unfreeze()
    for timing, first in zip(timings, firsts, strict=True):
        if not timing.note and not timing.seconds:
            timing.seconds.append(first.seconds)
    return timings, [first.answer for first in firsts]


class _First(NamedTuple):
    """What the warm-up told: the answer, how long it took, and how many calls make a sample that can be measured."""

    answer: Any = None
    seconds: float = 0.0
    calls: int = 1


def _first(contender: Contender, timing: Timing, limit: float) -> _First:
    start = time.perf_counter()
    try:
        with _limited(limit):
            answer = contender.call()
    except _TooLongError:
        timing.note = f"> {limit:g} s"
        return _First()
    except Exception as error:
        if not contender.peer:
            raise
        timing.note = f"fails: {type(error).__name__}"
        return _First()
    seconds = time.perf_counter() - start
    calls = 1 if seconds > _LONG else max(1, int(_SAMPLE / _seconds(contender.call, 1)))
    return _First(answer, seconds, calls)


def _seconds(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLongError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
