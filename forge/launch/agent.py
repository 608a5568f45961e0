"""``python -m forge.launch.agent MODULE ARGS``: torchrun, which leaves it to who watches the ranks to say how they ended.

Its own report is the stack of torchrun itself and a table of exit codes, some forty lines, and what it calls the cause is the rank that
it saw first. Where the ranks are watched, there is a page about the one that failed; torchrun is heard in a line where there is none.
"""

from __future__ import annotations

import contextlib
import logging
import os
import runpy
import sys
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError
from forge.base.files import read_bounded, write_atomic
from forge.control.heartbeat import HEARTBEATS
from forge.launch.exit_codes import note_exit_codes
from forge.launch.rank_facts import exit_words

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AGENT", "last_words", "main"]

AGENT: Final = ("-m", "forge.launch.agent", "torch.distributed.run")
"""What starts the processes of a node."""
_WORDS: Final = "agent.txt"  # in the folder of the heartbeats
_TELLS_ENDINGS: Final = "torch.distributed.elastic.multiprocessing.api"
_LONGEST: Final = 1 << 16
_FAILED: Final = 1


def main(arguments: Sequence[str]) -> int:
    """Run the module as this process; what it raises by itself becomes a line where somebody watches its ranks."""
    module, *rest = arguments
    sys.argv[1:] = rest
    watched = os.environ.get(HEARTBEATS, "")
    if watched:
        logging.getLogger(_TELLS_ENDINGS).disabled = True
        note_exit_codes(watched)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        if not watched or not type(error).__module__.startswith("torch."):
            raise
        write_atomic(os.path.join(watched, _WORDS), f"torchrun: {_words(error)}", durable=False)
        return _FAILED
    return 0


def last_words(folder: str) -> str:
    """Why torchrun gave up, from the folder of the heartbeats of its ranks; "" where it did not."""
    with contextlib.suppress(FileError):
        return read_bounded(os.path.join(folder, _WORDS), _LONGEST).decode("utf-8", "replace")
    return ""


def _words(error: Exception) -> str:
    """Which of the ranks was the first to fail, and how; of any other error its first line."""
    first_failure = getattr(error, "get_first_failure", None)
    if first_failure is None:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")
    rank, failure = first_failure()
    where = f"; see logs/rank-{rank}.log of the run folder" if rank else ""  # the first one speaks to the terminal
    return f"rank {rank} was the first to end: {exit_words(failure.exitcode)}{where}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
