"""One process that the watchdog of its node watches: that it ends is seen at once, and its exit code as long as anybody knows it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from forge.control.processes import is_alive
from forge.launch.exit_codes import noted_exit_code
from forge.launch.rank_facts import GONE, RankFacts, main_stack

if TYPE_CHECKING:
    from forge.control.heartbeat import Beat

__all__ = ["WatchedRank"]

_ABORTED: Final = 130
_QUIET: Final = frozenset({0, 2, 3, _ABORTED})  # done, refused, stopped, aborted


class WatchedRank:
    """One process that is watched; ``folder`` is where its parent notes how it ended."""

    def __init__(self, beat: Beat, folder: str) -> None:
        self.beat = beat
        self._folder = folder
        self.code: int | None = None
        self.died: float | None = None
        self.asked: str | None = None  # its state when it was asked for its stack
        self.handle: int | None = None
        with contextlib.suppress(OSError, AttributeError):
            self.handle = os.pidfd_open(beat.process.pid)

    @property
    def alive(self) -> bool:
        """Whether it was there when it was last looked at."""
        return self.died is None

    def look(self) -> bool:
        """Whether it has just ended."""
        if self.died is not None or is_alive(self.beat.process):
            return False
        pid = self.beat.process.pid
        code = _exit_code(pid)
        self.code = noted_exit_code(self._folder, pid) if code is None else code
        self.died = time.monotonic()
        self.close()
        return True

    def note_state(self) -> None:
        """Keep how it is, before it is asked for its stack."""
        self.asked = _state(self.beat.process.pid)

    def _condition(self) -> str:
        """The letter for how it is: as before it was asked, but for a wait for a disk that is over, as any process has them."""
        if self.asked in {None, "D"}:
            return _state(self.beat.process.pid)
        return str(self.asked)

    def close(self) -> None:
        """Let go of what tells that it ends."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    @property
    def abnormal(self) -> bool:
        """Whether it ended in a way that is worth a report."""
        if self.alive or self.code in (0, -signal.SIGTERM):
            return False  # it is done, or somebody has asked it to end
        if self.code is None:
            return self.beat.code not in _QUIET
        return self.code < 0 or self.beat.code != _ABORTED

    def facts(self, dump: str) -> RankFacts:
        """What is known of it, with the stacks that it has written."""
        beat, now = self.beat, time.monotonic()
        return RankFacts(
            rank=beat.rank,
            size=beat.size,
            host=beat.host,
            pid=beat.process.pid,
            step=beat.step,
            marks=beat.marks,
            phase=beat.phase,
            idle=round(now - beat.since, 1),
            state=self._condition() if self.died is None else GONE,
            code=beat.code if self.code is None else self.code,
            gone=0.0 if self.died is None else round(now - self.died, 3),
            guilty=beat.guilty,
            told=beat.code is not None,
            words=beat.words,
            stack=main_stack(dump),
        )


def _state(pid: int) -> str:
    """The letter that the system has for what a process does."""
    return next(iter(_status(pid)), "?")


def _exit_code(pid: int) -> int | None:
    """How a process ended that its parent has not asked yet; None when it has."""
    fields = _status(pid)
    if not fields or fields[0] != "Z":
        return None
    status = int(fields[-1])
    return -(status & 0x7F) if status & 0x7F else status >> 8


def _status(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()
