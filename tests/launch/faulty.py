"""A real run of which one rank goes wrong before a step: FAULT says how, in rank 1 after so many steps as AT says, the first time."""

from __future__ import annotations

import os
import signal
import sys
import time
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge.ml.parallel.world import World
from forge.ml.train import loop
from forge.ml.train.__main__ import main

if TYPE_CHECKING:
    from forge.ml.train.run import Run

FAULT = os.environ["FAULT"]
AT = int(os.environ.get("AT", "3"))
take_step = loop.take_step


def miss_a_collective(_run: Run) -> None:
    """The next sum is not asked for."""
    real = World.sum

    def once(_self: World, values: Any, _over: str = "all") -> list[float]:
        World.sum = real  # type: ignore[method-assign]
        return [2 * value for value in values]

    World.sum = once  # type: ignore[method-assign]


def hold_the_interpreter(_run: Run) -> None:
    """A loop in C during which no other thread gets a turn, and no handler of a signal either."""
    sum(repeat(0))


def lose_numbers(run: Run) -> None:
    """Weights that are no numbers."""
    for parameter in run.model.parameters():
        parameter.data.fill_(float("nan"))


def raise_an_error(_run: Run) -> None:
    """As a bug does."""
    raise ZeroDivisionError("nobody can be divided so")


FAULTS = {
    "none": lambda _run: None,
    "sleep": lambda _run: time.sleep(1000),
    "kill": lambda _run: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda _run: os.kill(os.getpid(), signal.SIGSTOP),
    "loop": hold_the_interpreter,
    "missed": miss_a_collective,
    "nan": lose_numbers,
    "raise": raise_an_error,
}


def step(run: Run) -> dict[str, Any]:
    """Take a step, or go wrong."""
    once = Path(run.folder, "went-wrong")
    if run.step == AT and run.world.rank == 1 and not once.exists():
        once.write_text(str(time.time()))
        FAULTS[FAULT](run)
    return take_step(run)


if __name__ == "__main__":
    loop.take_step = step
    os._exit(main(sys.argv[1:]))
