"""``python -m forge.launch.rank MODULE ARGS``: one rank of a run; it becomes the module after it has its own place to write.

The first rank speaks to the terminal. What the others print goes to ``RUN/logs/rank-N.log``, the last of ARGS being the run folder:
of eight that say the same, seven are noise. A rank does not outlive the agent that has started it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import TYPE_CHECKING

from forge.base.files import make_folder, open_append
from forge.launch.parent import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "rank_log"]


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
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _speak_to(path: str) -> None:
    """Let everything that this process prints, libraries in C as well, go to the end of a file."""
    make_folder(os.path.dirname(path))
    with open_append(path) as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])
