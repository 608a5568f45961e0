"""How the processes ended that this one has started, noted for who watches them and is no parent of theirs.

The system tells that to others only until the parent has asked, which torchrun does ten times in a second: whoever looks later,
because the machine is busy or the run folder slow, would know no more than that a rank is gone. The parent itself hears of each
end while it sleeps between two questions.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError
from forge.base.files import open_append, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["note_exit_codes", "noted_exit_code"]

_NOTES: Final = "exit-codes.txt"
_LONGEST: Final = 1 << 20
_TASKS: Final = "/proc/self/task"


def note_exit_codes(folder: str) -> None:
    """Write down in a folder how each process ends that this one has started and now and then asks, where the system lists them."""
    if not hasattr(os, "waitid") or not os.path.isdir(_TASKS):
        return
    owner = os.getpid()
    known: set[int] = set()  # those that wait to be asked

    def note(*_: object) -> None:
        if os.getpid() != owner:
            return  # a process that was forked has children of its own
        ended = dict(_ended())
        new = ended.keys() - known
        known.intersection_update(ended)
        known.update(new)
        with contextlib.suppress(FileError, OSError), open_append(os.path.join(folder, _NOTES)) as file:
            file.writelines(f"{pid} {ended[pid]}\n" for pid in new)

    signal.signal(signal.SIGCHLD, note)


def noted_exit_code(folder: str, pid: int) -> int | None:
    """How the last process of this number ended, as its parent has noted; None where it has not."""
    try:
        lines = read_bounded(os.path.join(folder, _NOTES), _LONGEST).decode("ascii", "replace").splitlines()
    except FileError:
        return None
    codes = [code for number, _, code in (line.partition(" ") for line in lines) if number == str(pid)]
    return int(codes[-1]) if codes else None


def _ended() -> Iterator[tuple[int, int]]:
    """The children that have ended and were not asked yet, each with its code, negative for a signal."""
    for pid in _children():
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                yield pid, found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _children() -> Iterator[int]:
    for task in os.listdir(_TASKS):
        # As bytes: a signal that comes while another one's codec is being imported would find none.
        with contextlib.suppress(OSError), open(f"{_TASKS}/{task}/children", "rb") as file:
            yield from map(int, file.read().split())
