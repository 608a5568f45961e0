"""How long and how much a chat template may run: a template comes with a model and is nobody's friend.

The sandbox keeps a template from reaching out, not from running for ever or filling the memory. So a worker process renders under
limits that the system enforces, in two stages. First a signal ends the rendering with an error for its row. Where the
interpreter is deep inside one operation and sees no signal (a sum of a million lists), a second signal, which no code
handles, ends the worker; who started it sees the exit status `KILLED`.

Both clocks count the processor time of this process, so that a busy machine does not make an honest template fail.
"""

from __future__ import annotations

import contextlib
import resource
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forge.ml.chat.conversation import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["KILLED", "Limits", "limited", "memory_limited"]

KILLED: Final = -int(signal.SIGPROF)
"""The exit status of a worker whose template could not be stopped in any other way, as `subprocess` and `multiprocessing` tell it."""

_PAGE: Final = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rendering may use: seconds of processor time, and bytes of memory beyond what the process has already."""

    seconds: float = 0.5
    memory: int = 256 << 20


class _OutOfTime(BaseException):
    """Raised in the middle of a template; no filter's `except Exception` may swallow it."""


@contextlib.contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Run a block of template code under limits: RowError when it hits one. Only for the main thread of a process.

    The memory is limited by `memory_limited`, once around many of these.
    """
    before = signal.signal(signal.SIGVTALRM, _stop)
    try:
        # The first clock strikes again and again: an error that is raised inside a destructor is lost.
        signal.setitimer(signal.ITIMER_VIRTUAL, limits.seconds, limits.seconds / 8)
        signal.setitimer(signal.ITIMER_PROF, 1.6 * limits.seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _OutOfTime:
        raise RowError("the template runs too long", f"more than {limits.seconds:g} s") from None
    except MemoryError:
        raise RowError("the template needs too much memory", f"more than {limits.memory >> 20} MB") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def memory_limited(limits: Limits) -> Iterator[None]:
    """Let the process grow by a given amount at most inside the block; beyond it Python raises MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _address_space() + limits.memory
    bound = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _OutOfTime


def _address_space() -> int:
    """The bytes this process has mapped; where the system does not say, none, and the limit stands alone."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * _PAGE
    except OSError:
        return 64 << 30
