"""Watches the ranks of one node: one that dies or hangs is named, with the stack of every rank, and the others are ended.

It runs in the process that looks after torchrun. The death of a rank is seen at once, with its exit code, which torchrun's
process notes before it asks for it. A run hangs when none of its ranks has come further for as long as each of them allows itself. Then every rank is asked for
its stacks, which it writes even where a loop holds the interpreter; nodes tell one another what they have found through the
run folder; and each of them ends its own ranks, so that torchrun starts the run again if it may.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.base.files import remove_tree, write_temporary
from forge.control.heartbeat import HEARTBEATS, read_beats, stack_file
from forge.control.processes import end_family, family, identity, is_alive
from forge.launch.agent import last_words
from forge.launch.casualty import judge
from forge.launch.told import nodes_told, torchrun_told
from forge.launch.watchdog_nodes import Neighbours, casualty_report
from forge.launch.watched_rank import WatchedRank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.control.heartbeat import Beat
    from forge.control.processes import Identity

__all__ = ["STACKS", "Watchdog"]

STACKS: Final = signal.SIGUSR2
"""The signal that makes a rank write its stacks."""
_PAUSE: Final = 0.5  # seconds between two looks at the heartbeats
_SETTLE: Final = 1.5  # for the others to end as well, and for stacks to be written
_GRACE: Final = 4.0  # between TERM and KILL; ranks that train end at TERM
_TORCHRUN: Final = "5"  # seconds that torchrun leaves them
_SOON: Final = 0.2  # within which a signal is heard
_FIRST: Final = 0.3  # torchrun looks ten times in a second
_AGENT: Final = 5.0  # for torchrun to end, where nothing is started again
_REFUSED: Final = 2
_MET: Final = 50.0  # seconds in which the nodes have met, and the ranks begun
_SLEPT: Final = 5.0  # seconds by which a look is late when this process was stopped, and the ranks with it


class Watchdog:
    """A thread that watches the ranks which a command starts on this node."""

    def __init__(self, run_folder: str, say: Callable[[str], None]) -> None:
        self._say = say
        self._folder = self._made(run_folder)
        self._ranks: dict[int, WatchedRank] = {}
        self._past: set[Identity] = set()  # ranks of earlier attempts
        self._root: Identity | None = None
        self._over = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._neighbours = Neighbours(run_folder)
        self._awake = 0.0
        self._last = ""
        self._unmet = ""  # what is said when no rank begins

    def _made(self, run_folder: str) -> str:
        """A folder for the heartbeats on this machine; a disk that is full keeps no run from beginning."""
        try:
            return os.path.dirname(write_temporary("run", run_folder))
        except (ForgeError, OSError) as error:
            self._say(f"warning: nobody will see when a rank dies or hangs: {error}")
            return ""

    def environment(self, command: Sequence[str]) -> dict[str, str]:
        """This process's own, with what the ranks and torchrun have to find in theirs when they run this command."""
        self._unmet = _unmet(command)
        quick = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": _TORCHRUN}
        # Ranks that are started again would find the addresses of those before them, and try to reach them for ever.
        fresh = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} if _may_start_again(command) else {}
        return {**quick, **fresh, **os.environ, HEARTBEATS: self._folder}  # an empty name is none

    def start(self, root: Identity | None) -> None:
        """Begin to watch; ``root`` is the process that starts the ranks."""
        self._root = root
        if self._folder:
            self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the run has ended by a rank that died or hung."""
        return bool(self._last)

    @property
    def begun(self) -> bool:
        """Whether ranks have started, as far as that can be told."""
        return not self._folder or bool(read_beats(self._folder))

    def hush(self) -> None:
        """The ranks are being ended on purpose: nothing that becomes of them is worth a word."""
        self._silent = True

    def stop(self) -> None:
        """The command has ended; what is being reported is brought to its end first."""
        self._over.set()
        if not self._folder:
            return
        if self._thread.ident is not None:
            self._thread.join()
        for rank in self._ranks.values():
            rank.close()
        # One line at the end; where there is no page, what torchrun itself gave up for.
        if last := self._last or ("" if self._silent else last_words(self._folder)):
            self._say(last)
        with contextlib.suppress(ForgeError):
            remove_tree(self._folder)

    def _watch(self) -> None:
        last, looked = False, time.monotonic()
        late = looked + _MET
        while not last:
            last = self._over.is_set()  # one more look after the end
            self._meet()
            self._wait(0 if last else _PAUSE)
            if time.monotonic() > looked + _SLEPT:
                self._awake = time.monotonic()
            if not self._silent:
                self._look()
            looked = time.monotonic()
            if looked > late and not self._ranks and self._unmet:
                self._say(self._unmet)
                self._unmet = ""

    def _look(self) -> None:
        dead = [rank for rank in self._ranks.values() if rank.look()]
        if dead:
            self._meet()  # their last words
        if any(rank.abnormal for rank in dead):
            self._died()
        elif self._hangs() or self._neighbours.call():
            self._ask_for_stacks()
            self._await_stacks()
            self._report()

    def _meet(self) -> None:
        """Get to know the ranks that have started since, and what all of them say."""
        for beat in read_beats(self._folder):
            known = self._ranks.get(beat.rank)
            if known is not None and known.beat.process == beat.process:
                known.beat = beat
            elif beat.process not in self._past:
                if self._starts_anew(beat):
                    self._begin()
                self._forget([known] if known is not None else [])
                self._ranks[beat.rank] = WatchedRank(beat, self._folder)
        self._neighbours.publish([rank.beat for rank in self._ranks.values()])

    def _starts_anew(self, beat: Beat) -> bool:
        """Whether a rank is of a later start than those that are known, of which none is left: who has just died may be of its own."""
        known = self._ranks.values()
        if not known or any(rank.alive for rank in known):
            return not known
        others = {(rank.beat.attempt, rank.beat.size) for rank in known}
        return beat.rank in self._ranks or others != {(beat.attempt, beat.size)}

    def _begin(self) -> None:
        """Ranks start: what was before is over."""
        self._forget(list(self._ranks.values()))
        self._ranks.clear()
        self._neighbours.begin()

    def _forget(self, ranks: Sequence[WatchedRank]) -> None:
        for rank in ranks:
            rank.close()
            self._past.add(rank.beat.process)

    def _wait(self, seconds: float) -> None:
        """Until a rank ends, or the time is over."""
        handles = [rank.handle for rank in self._ranks.values() if rank.handle is not None]
        if not handles:
            self._over.wait(seconds if any(rank.alive for rank in self._ranks.values()) else seconds / 5)
            return
        poll = select.poll()
        for handle in handles:
            poll.register(handle, select.POLLIN)
        poll.poll(seconds * 1000)

    def _hangs(self) -> bool:
        """Whether nobody has come further for as long as everybody allows."""
        beats = [rank.beat for rank in self._ranks.values() if rank.alive]
        if not beats:
            return False
        patience = max(beat.until - beat.since for beat in beats)
        latest = max(self._neighbours.moved, self._awake) + patience
        return time.monotonic() > max(latest, *(beat.until for beat in beats))

    def _died(self) -> None:
        """A rank ended that should not have: torchrun ends the others, and is helped where they do not hear it."""
        until = time.monotonic() + _SETTLE
        self._ask_for_stacks()
        while any(rank.alive for rank in self._ranks.values()) and time.monotonic() < until:
            self._meet()
            self._wait(0.1)
            for rank in self._ranks.values():
                rank.look()
        self._meet()
        if self._silent or self._refused():
            return
        if self._abandoned():
            self._say("casualty: what had started the ranks is gone, and they with it")
        else:
            self._report()

    def _abandoned(self) -> bool:
        """Whether the ranks have ended as those do whose parent is gone."""
        return not is_alive(self._root) and all(rank.code in (None, -signal.SIGKILL) for rank in self._ranks.values())

    def _refused(self) -> bool:
        """Whether the run was refused, which its first rank has told; the others end as if they had failed."""
        first = self._ranks.get(0)
        if first is not None:
            return not first.alive and first.beat.code == _REFUSED
        return not self._neighbours.called and all(rank.beat.code == _REFUSED for rank in self._ranks.values())

    def _report(self) -> None:
        attempts_left = max((rank.beat.attempts - rank.beat.attempt for rank in self._ranks.values()), default=0)
        dumps = {number: self._dump(number) for number in sorted(self._ranks)}
        facts = [self._ranks[number].facts(dump) for number, dump in dumps.items()]
        verdict = judge(facts)
        try:
            report = casualty_report(self._neighbours, facts, dumps, attempts_left=attempts_left)
            verdict = report.verdict
            self._last = "" if attempts_left else report.line
            self._say(report.text)
        except ForgeError as error:
            self._say(f"casualty: {verdict}; the report cannot be written: {error}")
        self._end(verdict.ranks, attempts_left)

    def _ask_for_stacks(self) -> None:
        for rank in self._ranks.values():
            if rank.alive and rank.asked is None and is_alive(rank.beat.process):
                rank.note_state()
                _send(rank.beat.process, STACKS)
        stopped = [rank for rank in self._ranks.values() if rank.alive and rank.asked == "T"]
        if stopped:
            time.sleep(_SOON)  # until those that wait for it have written where
        for rank in stopped:
            self._wake(rank)

    def _wake(self, rank: WatchedRank) -> None:
        """Let a stopped process go on until it has written its stack, which is what it does first."""
        path, until = stack_file(self._folder, rank.beat.rank), time.monotonic() + _SOON
        before = _size(path)
        _send(rank.beat.process, signal.SIGCONT)
        while _size(path) == before and time.monotonic() < until:
            time.sleep(_SOON / 20)
        _send(rank.beat.process, signal.SIGSTOP)

    def _await_stacks(self) -> None:
        """Until every rank has written, and nothing is added any more."""
        until = time.monotonic() + _SETTLE
        sizes: list[int] = []
        while time.monotonic() < until:
            time.sleep(0.2)
            now = [_size(stack_file(self._folder, number)) for number, rank in self._ranks.items() if rank.alive]
            if all(now) and now == sizes:
                break
            sizes = now

    def _dump(self, number: int) -> str:
        try:
            with open(stack_file(self._folder, number), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def _end(self, guilty: Sequence[int], attempts_left: int) -> None:
        """End what is left of these ranks, and of what they have started; and torchrun, where it does not end by itself."""
        for first in (True, False):  # torchrun calls the first that it sees ending the cause
            _end_all(
                [
                    rank.beat.process
                    for number, rank in self._ranks.items()
                    if (number in guilty or not first) and is_alive(rank.beat.process)
                ],
                _GRACE / 2,
            )
            if first and guilty:
                self._over.wait(_FIRST)
        self._end_orphans()
        for rank in self._ranks.values():
            rank.look()
        if attempts_left == 0:
            self._over.wait(_AGENT)
            if self._root is not None and is_alive(self._root):
                end_family(self._root, _GRACE)

    def _end_orphans(self) -> None:
        """What ranks that are gone have left behind came to this process, which has adopted it."""
        own = identity(os.getpid())
        if own is None or self._root is None:
            return
        # Nobody else starts anything here: what is below us and not below torchrun belonged to a rank. In this order, for
        # torchrun may start new ranks meanwhile.
        below = family([own])
        kept = family([self._root]) | {own}
        _end_all([who for who in below - kept if is_alive(who)], _FIRST)


def _unmet(command: Sequence[str]) -> str:
    """What is said when torchrun waits for other nodes; a node alone waits for none."""
    least, most = nodes_told(command, os.environ)
    if most == 1:
        return ""
    where = torchrun_told("rdzv-endpoint", command, os.environ) or torchrun_told("master-addr", command, os.environ)
    needs = f"all {most} nodes" if least == most else f"at least {least} of {most} nodes"
    return f"no rank has begun within {_MET:.0f} seconds: torchrun waits until {needs} are at {where}"


def _may_start_again(command: Sequence[str]) -> bool:
    """Whether torchrun is told of restarts, or of a number of nodes that may change."""
    least, most = nodes_told(command, os.environ)
    return torchrun_told("max-restarts", command, os.environ) not in {"", "0"} or most > least


def _end_all(roots: Sequence[Identity], grace: float) -> None:
    if roots:
        with ThreadPoolExecutor(len(roots)) as pool:
            list(pool.map(lambda who: end_family(who, grace), roots))


def _send(who: Identity, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(who.pid, number)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
