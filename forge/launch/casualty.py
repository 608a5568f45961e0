"""A rank that died, hangs or has lost its numbers: which one it is, and why.

Nothing is looked at here but what was found out of each rank, so that every node of a run comes to the same page.
"""

from __future__ import annotations

import os
import re
import signal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.origin import shown_path
from forge.control.heartbeat import FAILED_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "GONE",
    "STOPPED",
    "CallFrame",
    "RankFacts",
    "Verdict",
    "exit_words",
    "from_plain",
    "judge",
    "main_stack",
    "rank_names",
]

GONE: Final = "X"
"""The state of a process that has ended."""
_FRAME: Final = re.compile(r'\s+File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')
_BLOCK: Final = re.compile(rf"^(?=(?:Current thread|Thread|{FAILED_THREAD}) 0x[0-9a-f]+)", re.MULTILINE)
_OURS: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "")
_PACKAGES: Final = "site-packages" + os.sep
# What a process says when another one is gone.
_SECOND_HAND: Final = re.compile(
    r"connection (closed|reset|refused)|closed by peer|broken pipe|timed out|timeout|remote process|socketStartConnect",
    re.IGNORECASE,
)
STOPPED: Final = ("T", "t")
"""The states of a process that a signal has stopped, or a debugger holds."""
_LOOKED: Final = 8  # frames, innermost first, in which a collective would be
# Where a process waits for its device, on which it may be a collective that does not come to an end.
_MAY_WAIT: Final = ("_engine_run_backward", "synchronize", "wait")
_READS_DEVICE: Final = os.path.join("forge", "ml", "train", "step.py")
_MOST_HOSTS: Final = 4
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
    def shown(self) -> str:
        """The file as it is known by, without the place where packages are."""
        if _PACKAGES in self.file:
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
    def waits(self) -> int:
        """How surely it waits for others: 2 inside a collective, 1 for what may be one on its device, 0 for neither."""
        if any(f"torch{os.sep}distributed{os.sep}" in frame.file for frame in self.stack[:_LOOKED]):
            return 2
        top = self.stack[:1]
        return int(any(one.function in _MAY_WAIT or one.file.endswith(_READS_DEVICE) for one in top))


class Verdict(NamedTuple):
    """The ranks that something is wrong with, and what that is."""

    ranks: tuple[int, ...]
    why: str

    def __str__(self) -> str:
        """``rank 1 hangs: ...``."""
        if not self.ranks:
            return self.why
        return f"{'rank' if len(self.ranks) == 1 else 'ranks'} {_ranges(self.ranks)} {self.why}"


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


def judge(ranks: Sequence[RankFacts], homes: Mapping[int, str] = MappingProxyType({})) -> Verdict:
    """Which of all ranks of a run it is, and why; ``homes`` are the hosts of ranks, as far as they are known."""
    unheard = partial(_unheard, homes=homes)
    for rule in (_guilty, _killed, unheard, _raised, _stopped, _lost, _missing, _elsewhere, _parted):
        verdict = rule(ranks)
        if verdict is not None:
            return verdict
    return Verdict((), "nobody came any further, and nothing tells the ranks apart")


def _guilty(ranks: Sequence[RankFacts]) -> Verdict | None:
    """What a rank has said of itself is known best."""
    found = [one for one in ranks if one.guilty]
    if not found:
        return None
    return Verdict(_numbers(found), f"failed: {_first_line(found[0].words) or 'it said so itself'}")


def _killed(ranks: Sequence[RankFacts]) -> Verdict | None:
    """The first that ended and did not say why; one of which not even the code is known may only have been ended for another."""
    silent = [one for one in ranks if one.failed and not one.told]
    if not silent:
        return None
    first = max(silent, key=lambda one: (one.code is not None, one.gone))
    return Verdict((first.rank,), f"died: {exit_words(first.code)}{_reason(first.code)}")


def _unheard(ranks: Sequence[RankFacts], homes: Mapping[int, str]) -> Verdict | None:
    """Those of a node that says nothing, where the others are only at a loss for them."""
    silent = sorted(set(range(max((one.size for one in ranks), default=0))) - {one.rank for one in ranks})
    if not silent or not _at_a_loss(ranks):
        return None
    whose = "its node" if len(silent) == 1 else "their node"
    names = _hosts(homes[rank] for rank in silent if rank in homes)
    return Verdict(tuple(silent), f"gave no answer, nor did {whose}{names and f' {names}'}")


def _at_a_loss(ranks: Sequence[RankFacts]) -> bool:
    """Whether all of them wait for others, or have ended for want of them."""
    return all(_SECOND_HAND.search(one.words) if one.failed else one.waits for one in ranks)


def _raised(ranks: Sequence[RankFacts]) -> Verdict | None:
    """The first that says more than that another one was gone."""
    return _failed([one for one in ranks if one.failed and not _SECOND_HAND.search(one.words)])


def _failed(found: Sequence[RankFacts]) -> Verdict | None:
    if not found:
        return None
    first = max(found, key=lambda one: one.gone)
    return Verdict((first.rank,), f"failed: {_first_line(first.words) or exit_words(first.code)}")


def _lost(ranks: Sequence[RankFacts]) -> Verdict | None:
    """Those that have ended because others were gone, who are not: they have lost one another."""
    failed = [one for one in ranks if one.failed]
    return (_parted(ranks) or _failed(failed)) if failed else None


def _stopped(ranks: Sequence[RankFacts]) -> Verdict | None:
    """Those that the system does not let run."""
    if found := [one for one in ranks if one.state in STOPPED]:
        what = "a signal has stopped it (SIGSTOP)" if found[0].state == "T" else "a debugger holds it"
        return Verdict(_numbers(found), f"{_hang(found)}: {what}")
    if found := [one for one in ranks if one.state == "D"]:
        return Verdict(_numbers(found), f"{_hang(found)}: the system waits for a disk, a network folder or a device")
    return None


def _missing(ranks: Sequence[RankFacts]) -> Verdict | None:
    """Those that are done, and others wait for them."""
    done = [one for one in ranks if one.state == GONE]
    left = [one for one in ranks if one.state != GONE]
    if not done or not left:
        return None
    return Verdict(_numbers(done), f"ended after step {done[0].step}, and {rank_names(left)} still wait")


def _elsewhere(ranks: Sequence[RankFacts]) -> Verdict | None:
    """Those that are elsewhere than the others: not waiting where these wait, or behind them, or ahead."""
    if len(ranks) < 2:  # noqa: PLR2004 - one is compared with nobody
        return Verdict(_numbers(ranks), f"{_hang(ranks)}{_doing(ranks[0])}") if ranks else None
    least = min(one.waits for one in ranks)
    idle = [one for one in ranks if one.waits == least]
    if len(idle) < len(ranks):
        behind = [one for one in idle if (one.step, one.marks) == min((two.step, two.marks) for two in idle)]
        found = idle if least == 0 else behind
        return Verdict(_numbers(found), f"{_hang(found)}{_doing(found[0])}, and the others wait for it")
    return _odd(ranks)


def _odd(ranks: Sequence[RankFacts]) -> Verdict | None:
    """All wait, or none does: who is at another place than most."""
    places: dict[tuple[Any, ...], list[RankFacts]] = {}
    for one in ranks:
        places.setdefault((one.step, one.marks, one.stack[:_LOOKED]), []).append(one)
    if len(places) < 2:  # noqa: PLR2004 - all at one place
        return None
    all_wait = min(one.waits for one in ranks) > 0
    # Of two, one that waits is where it should not be yet; one that does not is where it should not be any more.
    ahead = 1 if all_wait else -1
    place, found = min(places.items(), key=lambda item: (len(item[1]), (-ahead * item[0][0], -ahead * item[0][1])))
    if not all_wait:
        return Verdict(_numbers(found), f"{_hang(found)}{_doing(found[0])}, away from the others")
    others = next(some[0] for other, some in places.items() if other != place)
    why = f"left out a collective in which the others wait: it is {_at(found[0])}, and they are {_at(others)}"
    apart = {one.host for one in found}.isdisjoint(one.host for one in ranks if one not in found)
    return Verdict(_numbers(found), f"{why}; or {_cut(ranks)}" if apart else why)


def _parted(ranks: Sequence[RankFacts]) -> Verdict | None:
    """All are at a loss, and there is something between them that may be the reason."""
    if len({one.host for one in ranks}) < 2 or not _at_a_loss(ranks):  # noqa: PLR2004 - nobody else
        return None
    return Verdict((), f"all ranks wait for one another: {_cut(ranks)}")


def _cut(ranks: Sequence[RankFacts]) -> str:
    hosts = {one.host for one in ranks}
    return f"what joins {_hosts(hosts)} may be cut, `forge doctor --hosts {','.join(sorted(hosts))}` looks at it"


def _hosts(names: Iterable[str]) -> str:
    """``hal, muthur``, the first of many."""
    found = sorted(set(names))
    more = [f"{len(found) - _MOST_HOSTS} more"] if len(found) > _MOST_HOSTS else []
    return ", ".join([*found[:_MOST_HOSTS], *more])


def _hang(found: Sequence[RankFacts]) -> str:
    return "hangs" if len(found) == 1 else "hang"


def _doing(one: RankFacts) -> str:
    return f" in {one.stack[0]}" if one.stack else " and gives no stack"


def _at(one: RankFacts) -> str:
    own = next((frame for frame in one.stack if _PACKAGES not in frame.file), None)
    return f"at {own}" if own else f"in {one.phase}"


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


def _reason(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "; the system does that when memory runs out"
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE):
        return "; a library crashed, see its last stack"
    return ""


def rank_names(ranks: Iterable[RankFacts]) -> str:
    """``ranks 0-5, 7``."""
    numbers = _numbers(ranks)
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {_ranges(numbers)}"


def _numbers(ranks: Iterable[RankFacts]) -> tuple[int, ...]:
    return tuple(sorted(one.rank for one in ranks))


def _ranges(numbers: Sequence[int]) -> str:
    """``0-5, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def from_plain(data: dict[str, Any]) -> RankFacts:
    """The facts of a rank from JSON, which another node has written."""
    stack = tuple(CallFrame(str(file), int(line), str(function)) for file, line, function in data.pop("stack"))
    return RankFacts(**data, stack=stack)
