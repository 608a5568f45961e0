"""``python -m forge.launch.agent MODULE ARGS``: torchrun, which says in a line why it ends.

Its own report is the stack of torchrun itself and a table of exit codes, some forty lines. Where the ranks are watched, there is a page
about the one that failed, and torchrun only has to be heard where it fails by itself.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
from typing import TYPE_CHECKING, Final

from forge.control.heartbeat import HEARTBEATS
from forge.launch.rank_facts import exit_words

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AGENT", "main"]

AGENT: Final = ("-m", "forge.launch.agent", "torch.distributed.run")
"""What starts the processes of a node."""
_TELLS_ENDINGS: Final = "torch.distributed.elastic.multiprocessing.api"
_FAILED: Final = 1


def main(arguments: Sequence[str]) -> int:
    """Run the module as this process; what it raises by itself is a line where somebody watches its ranks."""
    module, *rest = arguments
    sys.argv[1:] = rest
    watched = bool(os.environ.get(HEARTBEATS))
    logging.getLogger(_TELLS_ENDINGS).disabled = watched
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        if not watched or not type(error).__module__.startswith("torch."):
            raise
        sys.stderr.write(f"torchrun: {_words(error)}\n")
        return _FAILED
    return 0


def _words(error: Exception) -> str:
    """Which of the ranks was the first to fail, and how; of any other error its first line."""
    first_failure = getattr(error, "get_first_failure", None)
    if first_failure is None:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    rank, failure = first_failure()
    return f"rank {rank} was the first to end: {exit_words(failure.exitcode)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
