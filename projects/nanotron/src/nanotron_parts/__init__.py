"""A part of the training loop that this project brings itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["TokensLeft"]


class TokensLeft(Callback):
    """Adds to what is measured how many tokens the run has still to read, about."""

    def __init__(self, every_steps: int = 100) -> None:
        if every_steps < 1:
            raise ValueError(f"every_steps is at least 1, not {every_steps}")
        self._every = every_steps

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        """Add the estimate, by the tokens that a step had so far."""
        if run.step % self._every == 0:
            record["tokens_left"] = run.counts.tokens * (run.total_steps - run.step) // run.step
