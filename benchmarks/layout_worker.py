"""A run of forge that takes its steps in turn with others: one of the processes that ``benchmarks/parallel.py`` starts, with a frozen run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from seats import Seat

from forge.ml.kept_memory import choose_kept_memory

choose_kept_memory()  # before torch is there, as `python -m forge.ml.train` does

from forge.ml.train import __main__ as process  # noqa: E402
from forge.ml.train import setup  # noqa: E402
from forge.ml.train.callback import Callback  # noqa: E402

if TYPE_CHECKING:
    from forge.ml.train.run import Run


class InTurn(Callback):
    """A turn is all from the end of one step to the end of the next."""

    def __init__(self) -> None:
        self.seat = Seat()

    def begin(self, _run: Run) -> None:
        """Wait for the first turn."""
        self.seat.wait()

    def after_step(self, _run: Run, _record: dict[str, Any]) -> None:
        """Wait for the next one."""
        self.seat.had()
        self.seat.wait()


def seated(folder: str, stopping: Any) -> Run:
    """The run as it would be, with a seat."""
    run = prepared(folder, stopping)
    run.callbacks = [*run.callbacks, InTurn()]
    return run


prepared = setup.set_up
setup.set_up = seated
code = process.main(sys.argv[1:])
sys.stdout.flush()
os._exit(code)
