"""What the processes of a run agree on between two steps: whether to stop, and whether to save."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["agree"]


def agree(run: Run) -> bool:
    """Let a request that one process knows of be known to all; whether somebody has asked for a checkpoint."""
    requested = run.saver is not None and run.saver.requested
    if run.world.alone:
        return requested
    stopping = run.stopping
    stop, interrupted, saves = run.world.sum([stopping.noted, stopping.noted and stopping.interrupted, requested])
    stopping.agree(stop=stop > 0, interrupted=interrupted > 0)
    return saves > 0
