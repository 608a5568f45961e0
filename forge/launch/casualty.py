"""A rank that died, hangs or has lost its numbers: which one it is, and why.

Nothing is looked at here but what was found out of each rank, so that every node of a run comes to the same page.
"""

from __future__ import annotations

import re
import signal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.launch.rank_facts import GONE, STOPPED, exit_words, rank_names, rank_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forge.launch.rank_facts import RankFacts

__all__ = ["Verdict", "judge"]

# What a process says when another one is gone.
_SECOND_HAND: Final = re.compile(
    r"connection (closed|reset|refused)|closed by peer|broken pipe|timed out|timeout|remote process|socketStartConnect",
    re.IGNORECASE,
)
_MOST_HOSTS: Final = 4


class Verdict(NamedTuple):
    """The ranks that something is wrong with, and what that is."""

    ranks: tuple[int, ...]
    why: str

    def __str__(self) -> str:
        """``rank 1 hangs: ...``."""
        if not self.ranks:
            return self.why
        return f"{'rank' if len(self.ranks) == 1 else 'ranks'} {rank_ranges(self.ranks)} {self.why}"


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
    known = any(one.code is not None for one in silent)
    if not silent or (not known and any(_at_first_hand(one) for one in ranks)):
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
    return _failed([one for one in ranks if _at_first_hand(one)])


def _at_first_hand(one: RankFacts) -> bool:
    """Whether it says of itself why it ended, and that is not that another one was gone."""
    return one.failed and one.told and not _SECOND_HAND.search(one.words)


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
    # Nobody can wait for one who is further and may wait as well: in its backward pass, say, for what the others are to send.
    further = least > 0 and min((one.step, one.marks) for one in idle) > max(
        ((one.step, one.marks) for one in ranks if one not in idle), default=(0, 0)
    )
    if len(idle) < len(ranks) and not further:
        behind = [one for one in idle if (one.step, one.marks) == min((two.step, two.marks) for two in idle)]
        found = idle if least == 0 else behind
        return Verdict(_numbers(found), f"{_hang(found)}{_doing(found[0])}, and the others wait for it")
    return _odd(ranks)


def _odd(ranks: Sequence[RankFacts]) -> Verdict | None:
    """All wait, or none does: who is at another place than most."""
    places: dict[tuple[Any, ...], list[RankFacts]] = {}
    for one in ranks:
        places.setdefault(one.place, []).append(one)
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
    own = next((frame for frame in one.stack if not frame.packaged), None)
    return f"at {own}" if own else f"in {one.phase}"


def _reason(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "; the system does that when memory runs out"
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE):
        return "; a library crashed, see its last stack"
    return ""


def _numbers(ranks: Iterable[RankFacts]) -> tuple[int, ...]:
    return tuple(sorted(one.rank for one in ranks))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
