"""Processes of this machine: whether one is still the one that was meant, which belong to it, and how all of them are ended."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Identity", "end_family", "family", "identity", "is_alive", "resident_bytes", "started_with"]

_PROC: Final = "/proc"
_GONE: Final = ("Z", "X")  # ended, and only its parent has not asked yet how
_PAUSE: Final = 0.02
_PATIENCE: Final = 3.0  # after KILL, which no process can refuse; one in the middle of a disk access takes it later
_COLUMNS: Final = "pid=,ppid=,pgid=,stat=,lstart="


class Identity(NamedTuple):
    """A process: its number, and when it began, since numbers are used again."""

    pid: int
    start: str


class _Row(NamedTuple):
    """What the system says of a process."""

    who: Identity
    parent: int
    group: int


def identity(pid: int) -> Identity | None:
    """The process that has this number now; None when there is none that is still running."""
    row = _row(pid) if _has_proc() else next(_listed_by_ps("-p", str(pid)), None)
    return None if row is None else row.who


def is_alive(who: Identity | None) -> bool:
    """Whether this very process is still running."""
    return who is not None and identity(who.pid) == who


def family(roots: Iterable[Identity]) -> set[Identity]:
    """The processes that are running of these, of all that they have started, and of the groups that they lead."""
    found = set(roots)
    rows = list(_all_rows())
    now = {row.who.pid: row.who for row in rows}
    # A group keeps the number of a leader that has ended; once another process has that number, it is another group.
    groups = {root.pid for root in found if now.get(root.pid, root) == root}
    parents = {root.pid for root in found if now.get(root.pid) == root}
    members: set[Identity] = set()
    grown = True
    while grown:
        new = {row.who for row in rows if row.who in found or row.group in groups or row.parent in parents} - members
        members |= new
        parents |= {who.pid for who in new}
        grown = bool(new)
    return members


def resident_bytes(who: Identity) -> int | None:
    """The memory that a process has; None when it has ended, or the system does not say it in /proc."""
    try:
        with open(f"{_PROC}/{who.pid}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") if is_alive(who) else None


def started_with(who: Identity, variable: str) -> str:
    """The value that a variable of the environment had when a process began; empty where nobody may know."""
    try:
        with open(f"{_PROC}/{who.pid}/environ", "rb") as file:
            found = file.read()
    except OSError:
        return ""
    head = f"{variable}=".encode()
    value = next((part for part in found.split(b"\0") if part.startswith(head)), head)
    return value.removeprefix(head).decode("utf-8", "replace") if is_alive(who) else ""


def end_family(root: Identity, grace: float) -> set[Identity]:
    """End a process and everything it has started: TERM, after the grace KILL; the ones that even that did not end."""
    members = family([root])
    _send(members, signal.SIGTERM)
    _send(members, signal.SIGCONT)  # one that is stopped would not hear it
    _wait(members, grace)
    left: set[Identity] = set()
    # Whoever is stopped starts nobody new, so that none is missed.
    while new := family({root, *members, *left}) - left:
        _send(new, signal.SIGSTOP)
        left |= new
    _send(left, signal.SIGKILL)
    return _wait(left, _PATIENCE)


def _send(processes: Iterable[Identity], number: signal.Signals) -> None:
    # Elders first: who hears of the end of what it has started before it hears the signal may take it for an end of its own.
    for who in sorted(processes, key=lambda one: (len(one.start), one.start, one.pid)):
        if who.pid != os.getpid():
            with contextlib.suppress(ProcessLookupError), _held(who.pid) as handle:
                if not is_alive(who):
                    continue
                if handle is None:
                    os.kill(who.pid, number)
                else:
                    signal.pidfd_send_signal(handle, number)


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A handle of the process that has this number now, and of none that gets it later; None where the system has no such thing."""
    handle = None
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in {errno.ENOSYS, errno.EPERM}:
                raise
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _wait(processes: set[Identity], seconds: float) -> set[Identity]:
    """Wait until they have ended; those that have not."""
    until = time.monotonic() + seconds
    while (left := {who for who in processes if is_alive(who)}) and time.monotonic() < until:
        time.sleep(_PAUSE)
    return left


@lru_cache(maxsize=1)
def _has_proc() -> bool:
    return os.path.exists(f"{_PROC}/self/stat")


def _all_rows() -> Iterator[_Row]:
    if not _has_proc():
        yield from _listed_by_ps("-ax")
        return
    for name in os.listdir(_PROC):
        if name.isdecimal() and (row := _row(int(name))) is not None:
            yield row


def _row(pid: int) -> _Row | None:
    try:
        with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name in front may hold anything
    state, parent, group, start = fields[0], fields[1], fields[2], fields[19]
    return None if state in _GONE else _Row(Identity(pid, f"{_boot()}:{start}"), int(parent), int(group))


@lru_cache(maxsize=1)
def _boot() -> str:
    """What tells this start of the machine from others: process times are counted from it."""
    try:
        with open(f"{_PROC}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _listed_by_ps(*which: str) -> Iterator[_Row]:
    """The same from ``ps``, where there is no /proc (macOS)."""
    command = ["ps", "-o", _COLUMNS, *which]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - a list, and no shell
    for line in done.stdout.splitlines():
        pid, parent, group, state, *start = line.split()
        if state[0] not in _GONE:
            yield _Row(Identity(int(pid), " ".join(start)), int(parent), int(group))
