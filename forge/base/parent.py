"""Processes that do not outlive the one that has started them, and orphans that come to their grandparent."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import signal

__all__ = ["adopt_orphans", "end_with_parent"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def end_with_parent(number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent is gone; only Linux does that."""
    parent = os.getppid()
    _control(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it was gone before the system was asked
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Be the parent of descendants whose own parent has ended, so that they can be found; only Linux does that."""
    _control(_PR_SET_CHILD_SUBREAPER, 1)


def _control(what: int, value: int) -> None:
    if sys.platform == "linux":
        _library().prctl(what, value, 0, 0, 0)


def _library() -> Any:
    import ctypes  # loading it in a process that has just been forked would be too late

    return ctypes.CDLL(None)
