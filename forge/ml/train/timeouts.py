"""How long the processes of a run wait for one another: long until the first step is done and while a checkpoint is written, then short."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from forge.control.heartbeat import own_heart

if TYPE_CHECKING:
    from forge.ml.parallel.world import World

__all__ = ["Patience"]

# The watchdog ends a run that hangs, and knows which process it is. What torch does by itself, where nobody watches, comes later.
_AFTER_THE_WATCHDOG: Final = 1.5


class Patience:
    """What a process says of how far it is, and the limits within which it, and the others, have to come further.

    A run in which no process gets further for `hang_seconds` hangs; `first_step_seconds` are for what comes before its first
    step is done, and for checkpoints. None is for ever.
    """

    def __init__(
        self, world: World | None = None, hang_seconds: float | None = None, first_step_seconds: float | None = None
    ) -> None:
        self._world = world
        self._short = math.inf if hang_seconds is None else hang_seconds
        self._long = math.inf if hang_seconds is None or first_step_seconds is None else first_step_seconds
        self._heart = own_heart()
        self._hurried = False
        self.long("setting up")

    def mark(self, phase: str) -> None:
        """Something new begins."""
        self._heart.mark(phase)

    def long(self, phase: str) -> None:
        """What begins now may take long, and others may wait for it."""
        self._heart.patience = self._long
        self._heart.mark(phase)
        self._hurry(wanted=False)

    def evaluating(self) -> None:
        """Each batch has to come in time, but some processes may wait for the batches of others."""
        self._heart.mark("evaluation")
        self._hurry(wanted=False)

    def stepped(self, step: int) -> None:
        """A step is done, and the next one takes no longer."""
        self._heart.patience = self._short
        self._heart.mark("between steps", step)
        self._hurry(wanted=True)

    def _hurry(self, *, wanted: bool) -> None:
        if wanted == self._hurried:
            return
        self._hurried = wanted
        if self._world is not None:
            self._world.wait_at_most(self._short * _AFTER_THE_WATCHDOG if wanted else math.inf)
