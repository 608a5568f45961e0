"""``python -m forge.ml.workbench``: answer requests on standard input until it ends."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys

from forge.ml.kept_memory import choose_kept_memory
from forge.ml.workbench.answer import ENDED_BY_CTRL_C, Outcome, answer_to
from forge.ml.workbench.channel import Channel

__all__ = ["main"]


def main() -> int:
    """Answer every request, one after the other."""
    faulthandler.enable()
    choose_kept_memory()  # as `forge.ml.train` has it, so that a step takes the memory that it takes there
    channel = Channel()
    sys.stdout.reconfigure(line_buffering=True, errors="replace")
    for request in channel.requests():
        number, before = request.get("number"), len(sys.modules)
        try:
            with channel.working_on(number):
                outcome = answer_to(request, channel.progress)
        except KeyboardInterrupt:
            outcome = Outcome(code=ENDED_BY_CTRL_C)
        _tidy_up()
        # An interrupted import may leave half a library, which is not imported again.
        last = outcome.code == ENDED_BY_CTRL_C and len(sys.modules) != before
        channel.send({"number": number, **outcome._asdict(), "last": last})
        if last:
            break
    return 0


def _tidy_up() -> None:
    """Give back what the request has left, and hand on what it has printed."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    code = main()
    # Threads of libraries may not end by themselves.
    os._exit(code)
