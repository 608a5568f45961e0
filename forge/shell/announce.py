"""Tells of the jobs in the background that this shell has started and that have ended: a thread that sleeps while there are none."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from forge.control.jobs import tell, was_told
from forge.control.known import known_jobs
from forge.control.processes import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.control.known import KnownJob

__all__ = ["Announcer"]

_SECONDS: Final = 1.0
_MOST: Final = 5.0


class Announcer:
    """Says through ``say`` that a job has ended, as long as it is not held.

    The shell calls `hold` before it runs a line and `look` after it, so that nothing is said in the middle of what a verb prints.
    """

    def __init__(self, say: Callable[[str], None], seconds: float = _SECONDS) -> None:
        self._say = say
        self._seconds = seconds
        self._wake = threading.Event()
        self._free = threading.Lock()  # held while a line runs, and while something is said
        self._closed = False
        self._running = False  # whether a job of ours is
        self._own = identity(os.getpid())
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        """A line runs: say nothing until `look`."""
        self._free.acquire()

    def look(self) -> None:
        """The line is over: it may have started jobs, and others may have ended meanwhile."""
        self._free.release()
        if self._thread is None:
            if not any(self._jobs()):
                return  # a shell that only looks at configs has no thread
            self._thread = threading.Thread(target=self._watch, name="forge-announce", daemon=True)
            self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """The shell ends, and the thread with it; nothing is said any more."""
        self._closed = True
        if self._free.locked():
            self._free.release()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_MOST)

    def _watch(self) -> None:
        while not self._closed:
            self._wake.wait(self._seconds if self._running else None)
            self._wake.clear()
            with self._free:
                if not self._closed:
                    self._announce()

    def _announce(self) -> None:
        jobs = list(self._jobs())
        for job in jobs:
            if job.over and not was_told(job):
                more = f": `logs {job.id}` shows why" if job.state == "failed" else ""
                self._say(f"{tell(job)}{more}")
        self._running = any(not job.over for job in jobs)

    def _jobs(self) -> Iterator[KnownJob]:
        """The jobs in the background that this shell has started."""
        return (job for job in known_jobs() if job.record.starter == self._own and job.record.console)
