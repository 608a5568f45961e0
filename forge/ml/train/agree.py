"""What the processes of a run agree on between two steps: whether to stop, whether to save, and what is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["agree"]


def agree(run: Run) -> bool:
    """Let a request that one process knows of be known to all; whether somebody has asked for a checkpoint.

    A checkpoint that could not be written ends the run here, and not when the next one is due, which may be hours later.
    """
    run.saver.check()
    requested = run.saver.requested
    if run.world.alone:
        if run.changes.asked:
            run.changes.settle(run)
        return requested
    stopping = run.stopping
    noted = [stopping.noted, stopping.noted and stopping.interrupted, requested, run.changes.asked]
    stop, interrupted, saves, changes = run.world.sum(noted)
    stopping.agree(stop=stop > 0, interrupted=interrupted > 0)
    if changes > 0:
        run.changes.settle(run)
    return saves > 0
