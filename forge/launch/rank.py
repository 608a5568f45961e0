"""``python -m forge.launch.rank MODULE ARGS``: one rank of a run; it becomes the module after it has its own place to write.

The first rank speaks to the terminal. What the others print goes to ``RUN/logs/rank-N.log``, the last of ARGS being the run folder:
of eight that say the same, seven are noise. A rank does not outlive the agent that has started it. Whoever looks after the node sees
by its heartbeat how it is, and has its stacks written by a signal that needs no interpreter to be heard.
"""

from __future__ import annotations

import faulthandler
import os
import runpy
import signal
import sys
from typing import TYPE_CHECKING

from forge.base.files import make_folder, open_append, remove_file
from forge.base.parent import end_with_parent
from forge.control.heartbeat import HEARTBEATS, own_heart, stack_file

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "rank_log"]

_FAILED = 1


def rank_log(run_folder: str, rank: int) -> str:
    """The file that takes what a rank prints."""
    return os.path.join(run_folder, "logs", f"rank-{rank}.log")


def main(arguments: Sequence[str]) -> None:
    """Run the module as this process."""
    module, *rest = arguments
    end_with_parent(signal.SIGKILL)
    rank = int(os.environ.get("RANK", "0"))
    if rank:
        _speak_to(rank_log(rest[-1], rank))
    _show_stacks(rank)
    sys.argv[1:] = rest
    heart = own_heart()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        heart.farewell(ended.code if isinstance(ended.code, int) else _FAILED if ended.code else 0)
        raise
    except BaseException as error:
        heart.fail(error)
        heart.farewell(_FAILED)
        raise
    heart.farewell(0)


def _speak_to(path: str) -> None:
    """Let everything that this process prints, libraries in C as well, go to the end of a file."""
    make_folder(os.path.dirname(path))
    with open_append(path) as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())


def _show_stacks(rank: int) -> None:
    """Have the stacks of all threads written when we are asked, when a library crashes, and when we are told to end."""
    folder = os.environ.get(HEARTBEATS)
    if not folder:
        return
    path = stack_file(folder, rank)
    remove_file(path)  # of an earlier attempt
    with open_append(path) as file:
        handle = os.dup(file.fileno())  # it is written to as long as this process is there
    faulthandler.enable(handle)
    faulthandler.register(signal.SIGUSR2, handle, all_threads=True)
    faulthandler.register(signal.SIGTERM, handle, all_threads=True, chain=True)


if __name__ == "__main__":
    main(sys.argv[1:])
