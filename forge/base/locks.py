"""Locks between processes: a file that one process has alone, or that several have together."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Final

from forge.base.file_errors import unwritable

__all__ = ["Claim", "claim", "open_locked"]

_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Claim:
    """A lock file that this process holds until it lets go of it or ends, however it ends."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def release(self) -> None:
        """Let go of it; nothing happens the second time."""
        handle, self._handle = self._handle, -1
        _HELD.discard(self)
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)


def _release_all() -> None:
    for held in tuple(_HELD):
        held.release()


# A forked child has the handles too, and would keep the locks when this process is gone.
_HELD: Final[set[Claim]] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)


def claim(
    path: str | os.PathLike[str], text: str | None = "", *, wait: float = 0.0, shared: bool = False
) -> Claim | None:
    """Take a lock file, or None while another process has it; ``text`` tells others who does (None: nobody is to see it).

    A ``shared`` one several processes may have together. The file stays when the lock is let go; only who has it alone may
    remove it.
    """
    try:
        handle = open_locked(path, time.monotonic() + wait, 0o644, shared=shared)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    if handle is None:
        return None
    held = Claim(handle)
    if text is not None:
        with contextlib.suppress(OSError):  # on a full disk too it is ours, only without a name
            os.ftruncate(handle, 0)
            os.write(handle, text.encode())
    _HELD.add(held)
    return held


def _lock(handle: int, until: float, *, shared: bool = False) -> bool:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock  # POSIX only

    while True:
        try:
            flock(handle, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
        else:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)


def open_locked(path: str | os.PathLike[str], until: float, mode: int = 0o600, *, shared: bool = False) -> int | None:
    """Open and lock the file at a path for adding to it; None when others had it until then (by the monotonic clock)."""
    while True:
        handle = os.open(path, _LOCK_FILE | os.O_APPEND, mode)
        try:
            taken = _lock(handle, until, shared=shared)
            if taken and _is_at(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # another process has it, or had it and put another file in its place
        if not taken:
            return None


def _is_at(path: str | os.PathLike[str], handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
