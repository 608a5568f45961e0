"""Obeys the file ABORT in a run folder, so that a run is ended at once also from a machine that cannot signal its processes."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from forge.control.processes import end_family, family, identity
from forge.control.requests import ABORT_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ABORT_GRACE", "obeying_abort"]

ABORT_GRACE: Final = 4.0
"""Seconds between TERM and KILL when a run is aborted."""
_PAUSE: Final = 0.5


@contextmanager
def obeying_abort(run_folder: str, told: Callable[[], bool], *, kill: bool = False) -> Iterator[None]:
    """Inside, this process gets a TERM, which it knows what to make of, once the file is there and nobody else has told it.

    With ``kill`` it is ended, with all that it has started, when it is still inside after the grace: in a call that nothing
    interrupts.
    """
    path, over = os.path.join(run_folder, ABORT_FILE), threading.Event()

    def watch() -> None:
        while not os.path.exists(path):
            if over.wait(_PAUSE):
                return
        if not told():
            os.kill(os.getpid(), signal.SIGTERM)
        if kill and not over.wait(ABORT_GRACE):
            _end_all()

    threading.Thread(target=watch, name="abort", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _end_all() -> None:
    own = identity(os.getpid())
    for who in family([own]) - {own} if own is not None else ():
        end_family(who, 0)
    os.kill(os.getpid(), signal.SIGKILL)
