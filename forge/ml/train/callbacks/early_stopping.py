"""End a run that has stopped getting better."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

from forge.base.errors import RunError
from forge.ml.evaluate.perplexity import MEASURED
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Ends the run when `patience` evaluations in a row are no better than the best one by more than `min_delta`.

    The lower the `metric` the better. Of several held-out sets it is the mean, each token weighing the same, or that of one
    `dataset` alone.
    """

    def __init__(
        self, patience: int = 3, min_delta: float = 0.0, metric: str = "eval_loss", dataset: str | None = None
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience is at least 1 evaluation, not {patience}")
        if min_delta < 0:
            raise ValueError(f"min_delta is at least 0, not {min_delta}")
        self.patience, self.min_delta, self.metric, self.dataset = patience, min_delta, metric, dataset
        self.best: float | None = None
        self.waited = 0

    def begin(self, run: Run) -> None:
        """Refuse a run that would never be asked."""
        if not run.evaluations or run.settings.eval_strategy == "no":
            raise RunError(
                "early stopping needs evaluations, and this run makes none",
                hint="set eval_strategy to steps or epoch, and hold data out, or leave early_stopping out of callback",
            )
        if self.metric not in MEASURED:
            raise RunError(
                f"early stopping looks at {self.metric!r}, which an evaluation does not measure",
                hint=f"it measures: {', '.join(MEASURED)}",
            )
        if self.dataset is not None and self.dataset not in run.evaluations:
            raise RunError(
                f"early stopping looks at the held-out set {self.dataset!r}, which this run does not have",
                hint=f"it has: {', '.join(run.evaluations)}",
            )

    def after_evaluation(self, run: Run, records: list[dict[str, Any]]) -> None:
        """Hold the new figure against the best one."""
        figure = self._figure(records)
        if not isnan(figure) and (self.best is None or figure < self.best - self.min_delta):
            self.best, self.waited = figure, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            what = "been a number" if self.best is None else f"fallen below {self.best:.4g}"
            run.stop(f"early stopping: {self.metric} has not {what} in {self.waited} evaluations")

    def _figure(self, records: list[dict[str, Any]]) -> float:
        chosen = [record for record in records if self.dataset in (None, record["dataset"])]
        tokens = sum(record["tokens"] for record in chosen)
        return float(sum(record[self.metric] * record["tokens"] for record in chosen) / tokens)

    def state(self) -> dict[str, Any]:
        """The best figure, and for how many evaluations nothing was better."""
        return {"best": self.best, "waited": self.waited}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.best, self.waited = state["best"], state["waited"]
