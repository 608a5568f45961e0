"""What is found out of one rank of a run: where it is, how it ended, what it said, and the calls that it was in."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.origin import shown_path
from forge.control.heartbeat import FAILED_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "GONE",
    "STOPPED",
    "CallFrame",
    "RankFacts",
    "exit_words",
    "from_plain",
    "main_stack",
    "rank_names",
    "rank_ranges",
]

GONE: Final = "X"
"""The state of a process that has ended."""
_FRAME: Final = re.compile(r'\s+File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')
_BLOCK: Final = re.compile(rf"^(?=(?:Current thread|Thread|{FAILED_THREAD}) 0x[0-9a-f]+)", re.MULTILINE)
_OURS: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "")
_PACKAGES: Final = "site-packages" + os.sep
STOPPED: Final = ("T", "t")
"""The states of a process that a signal has stopped, or a debugger holds."""
_LOOKED: Final = 8  # frames, innermost first, in which a collective would be
# Where a process waits for its device, on which it may be a collective that does not come to an end.
_MAY_WAIT: Final = ("_engine_run_backward", "synchronize", "wait")
_READS_DEVICE: Final = os.path.join("forge", "ml", "train", "step.py")
# What is below the first frame of the run itself is the same everywhere.
_BELOW: Final = ("<frozen runpy>", "runpy.py", os.path.join("forge", "launch", "rank.py"))


class CallFrame(NamedTuple):
    """One call of a stack."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """For a person."""
        return f"{self.function} ({self.shown}:{self.line})"

    @property
    def packaged(self) -> bool:
        """Whether it is in a package that is installed."""
        return _PACKAGES in self.file

    @property
    def shown(self) -> str:
        """The file as it is known by, without the place where packages are."""
        if self.packaged:
            return self.file.rpartition(_PACKAGES)[2]
        return self.file.removeprefix(_OURS) if self.file.startswith(_OURS) else shown_path(self.file)


class RankFacts(NamedTuple):
    """What was found out of one rank: ``idle`` are the seconds since it came further, ``gone`` those since it ended.

    ``state`` is the letter that the system has for it, or `GONE`; ``code`` is as that of `subprocess`, negative for a signal.
    """

    rank: int
    size: int
    host: str
    pid: int
    step: int
    marks: int
    phase: str
    idle: float
    state: str
    code: int | None = None
    gone: float = 0.0
    guilty: bool = False
    told: bool = False
    words: str = ""
    stack: tuple[CallFrame, ...] = ()

    @property
    def name(self) -> str:
        """What it is called."""
        return f"rank {self.rank}"

    @property
    def failed(self) -> bool:
        """Whether it has ended otherwise than one does that is done, or is asked to."""
        return self.state == GONE and self.code not in (0, -signal.SIGTERM)

    @property
    def place(self) -> tuple[int, int, tuple[CallFrame, ...]]:
        """Where it is, as far as that tells it from others."""
        return self.step, self.marks, self.stack[:_LOOKED]

    @property
    def waits(self) -> int:
        """How surely it waits for others: 2 inside a collective, 1 for what may be one on its device, 0 for neither."""
        if any(f"torch{os.sep}distributed{os.sep}" in frame.file for frame in self.stack[:_LOOKED]):
            return 2
        top = self.stack[:1]
        return int(any(one.function in _MAY_WAIT or one.file.endswith(_READS_DEVICE) for one in top))


def main_stack(dump: str) -> tuple[CallFrame, ...]:
    """The calls of the main thread in what `faulthandler` has written, innermost first: of several the first, or those of an error."""
    stacks: list[tuple[CallFrame, ...]] = []
    blocks = _BLOCK.split(dump)[1:]
    for block in sorted(blocks, key=lambda block: not block.startswith(FAILED_THREAD)):
        frames = tuple(
            CallFrame(found["file"], int(found["line"]), found["function"].strip())
            for found in map(_FRAME.match, block.splitlines()[1:])
            if found is not None
        )
        stacks.append(frames)
        # Threads are written youngest first: the oldest one is where the module was run.
        if block.startswith(FAILED_THREAD) or any(frame.file.endswith(_BELOW) for frame in frames[-3:]):
            return _trimmed(frames)
    return _trimmed(stacks[-1]) if stacks else ()


def _trimmed(frames: tuple[CallFrame, ...]) -> tuple[CallFrame, ...]:
    kept = tuple(frame for frame in frames if not frame.file.endswith(_BELOW))
    return kept or frames


def from_plain(data: dict[str, Any]) -> RankFacts:
    """The facts of a rank from JSON, which another node has written."""
    stack = tuple(CallFrame(str(file), int(line), str(function)) for file, line, function in data.pop("stack"))
    return RankFacts(**data, stack=stack)


def exit_words(code: int | None) -> str:
    """``killed by SIGKILL``, ``exit code 1``."""
    if code is None:
        return "ended without a word"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def rank_names(ranks: Iterable[RankFacts]) -> str:
    """``ranks 0-5, 7``."""
    numbers = sorted(one.rank for one in ranks)
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {rank_ranges(numbers)}"


def rank_ranges(numbers: Sequence[int]) -> str:
    """``0-5, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
