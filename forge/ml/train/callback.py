"""What a run tells those who watch it: one method for each moment, none of which has to be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["Callback"]


class Callback:
    """Something that watches a run; a config lists them under ``callbacks``."""

    def begin(self, run: Run) -> None:
        """The run is set up, or restored, and about to take a step."""

    def before_step(self, run: Run) -> None:
        """The batches of the next step are in ``run.batch``."""

    def before_update(self, run: Run, loss: float, grad_norm: float | None) -> bool:  # noqa: ARG002 - what it may look at
        """The loss and the gradients of a step are known, the weights are as they were; False leaves this update out."""
        return True

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        """A step is done; ``record`` is what was measured of it and may be added to."""

    def during_evaluation(self, run: Run) -> None:
        """Some batches of an evaluation have gone by; the model is not to be changed now."""

    def after_evaluation(self, run: Run, records: list[dict[str, Any]]) -> None:
        """An evaluation is done, one record for each dataset."""

    def end(self, run: Run) -> None:
        """The run is over, whether it was finished, stopped or failed."""

    def state(self) -> dict[str, Any]:
        """What has to be in a checkpoint, as plain data."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
