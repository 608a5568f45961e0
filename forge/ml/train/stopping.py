"""How a run is asked to stop: by a signal, by a file named STOP in its folder, or by a callback.

A request is only noted; the loop looks at it between two steps, where all processes of a run agree on what was noted by any. What comes
before the first step, which may take hours, is left at once. The first SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal is gone) or
SIGUSR1 asks for a last checkpoint. The second SIGINT, and any signal once there is a file named ABORT, ends the process at once.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from forge.control.requests import ABORT_FILE, STOP_FILE

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["StoppedEarly", "Stopping", "among_others"]


def among_others() -> bool:
    """Whether torchrun has started this process, and looks after it."""
    return "TORCHELASTIC_RUN_ID" in os.environ


class StoppedEarly(Exception):  # noqa: N818 - it is no mistake
    """A run was asked to end before its first step; it says by whom."""


class Stopping:
    """Notes why a run should end."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.reason = ""
        self.interrupted = False  # by somebody outside: the run is not finished
        self.agreed: bool | None = None  # what all processes know, where there are several
        self.aborted = False  # the process is ending at once

    def listen(self) -> None:
        """Take over the signals; to be called before anything slow, so that none is missed."""
        # The agent of torchrun ends processes by these where another one has failed: none of them can go on then.
        own = () if among_others() else (signal.SIGINT, signal.SIGTERM)
        for number in (*own, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        if own and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(signal.SIGHUP, self._on_signal)

    def finish(self, reason: str) -> None:
        """The run has reached its aim."""
        self.reason = self.reason or reason

    def interrupt(self, reason: str) -> None:
        """Somebody outside wants the run to end; it can be resumed."""
        self.interrupted = True
        self.reason = reason

    @property
    def asked(self) -> bool:
        """Whether the run is to end after this step."""
        return self.noted if self.agreed is None else self.agreed

    @property
    def noted(self) -> bool:
        """Whether this process knows of a request."""
        if not self.reason and self._has(STOP_FILE):
            self.interrupt(f"the file {STOP_FILE} in the run's folder")
        return bool(self.reason)

    def leave_early(self) -> None:
        """For what comes before the first step: StoppedEarly once somebody has asked the run to end."""
        if self.noted:
            raise StoppedEarly(self.reason)

    def agree(self, *, stop: bool, interrupted: bool) -> None:
        """What all processes together know counts, and nothing noted since."""
        if stop and not self.reason:
            self.reason = "another process of the run was asked to"
        self.agreed, self.interrupted = stop, interrupted if stop else self.interrupted

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if (number == signal.SIGINT and self.interrupted) or self._has(ABORT_FILE):
            self.aborted = True
            raise KeyboardInterrupt
        self.interrupt(signal.Signals(number).name)

    def _has(self, name: str) -> bool:
        return self.folder is not None and os.path.exists(os.path.join(self.folder, name))
