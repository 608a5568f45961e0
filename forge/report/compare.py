"""Runs side by side: their figures, and what differs between their configs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import GraphError, RunError
from forge.base.files import read_bounded
from forge.base.sizes import shown_size
from forge.control.known import shown_loss, spoken_time
from forge.control.progress import progress_of
from forge.graph.diff import diff
from forge.graph.stored import from_json
from forge.report.figures import LoggedFigures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.control.known import KnownJob
    from forge.graph.change import Change
    from forge.graph.node import Graph

__all__ = ["RunFigures", "RunSummary", "changes_between", "frozen_graph", "run_summary", "shown_number", "summary_rows"]

_GRAPH: Final = "graph.json"
_LIMIT: Final = 256 << 20
_LONG: Final = 1e15


class RunFigures(NamedTuple):
    """What a run has come to."""

    loss: float | None
    least_loss: float | None
    eval_loss: dict[str, float]
    tokens: float | None
    tokens_per_second: float | None
    memory: float | None
    lr: float | None


class RunSummary(NamedTuple):
    """A run with what it has come to."""

    job: KnownJob
    measured: RunFigures

    @property
    def name(self) -> str:
        """The name of its folder."""
        return os.path.basename(self.job.record.run)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        job, progress = self.job, progress_of(self.job.record.run)
        about = {"name": self.name, "run": job.record.run, "config": job.config, "project": job.record.project}
        state = {"state": job.state, "how": job.how, "seconds": job.seconds, "started": job.record.started}
        overrides = list(job.record.overrides)
        return {
            **about,
            "overrides": overrides,
            **state,
            "step": progress.step,
            "total": progress.total,
            **self.measured._asdict(),
        }


def run_summary(job: KnownJob) -> RunSummary:
    """Read what a run has come to."""
    figures = LoggedFigures(job.record.run)
    losses = [value for _, value in figures.series("loss")]
    memory = [value for _, value in figures.series("memory")]
    measured = RunFigures(
        loss=losses[-1] if losses else None,
        least_loss=min(losses, default=None),
        eval_loss={name: points[-1][1] for name, points in figures.evaluated().items() if points},
        tokens=figures.last("tokens"),
        tokens_per_second=figures.mean("tokens_per_second"),
        memory=max(memory, default=None),
        lr=max((value for _, value in figures.series("lr")), default=None),
    )
    return RunSummary(job, measured)


def summary_rows(runs: Sequence[RunSummary]) -> list[list[str]]:
    """A table with one column for each run, and one row for each figure that any of them has."""
    datasets = dict.fromkeys(name for run in runs for name in run.measured.eval_loss)
    rows = [
        ["config", *(run.job.config for run in runs)],
        ["state", *(run.job.how for run in runs)],
        ["started", *(run.job.record.started[:19].replace("T", " ") for run in runs)],
        ["duration", *("" if run.job.seconds is None else spoken_time(run.job.seconds) for run in runs)],
        ["step", *(progress_of(run.job.record.run).steps for run in runs)],
        ["loss", *(shown_loss(run.measured.loss) for run in runs)],
        ["least loss", *(shown_loss(run.measured.least_loss) for run in runs)],
        *([f"eval {name}", *(shown_loss(run.measured.eval_loss.get(name)) for run in runs)] for name in datasets),
        ["highest lr", *("" if run.measured.lr is None else f"{run.measured.lr:.3g}" for run in runs)],
        ["tokens", *(shown_number(run.measured.tokens) for run in runs)],
        ["tokens/s", *(shown_number(run.measured.tokens_per_second) for run in runs)],
        ["memory", *("" if run.measured.memory is None else shown_size(run.measured.memory) for run in runs)],
    ]
    return [["", *(run.name for run in runs)], *(row for row in rows if any(row[1:]))]


def shown_number(value: float | None) -> str:
    """``1,310,720``; not more digits than a cell of a table has room for."""
    return "" if value is None else f"{value:,.0f}" if abs(value) < _LONG else f"{value:.3g}"


def changes_between(before: KnownJob, after: KnownJob) -> tuple[Change, ...]:
    """What turns the config of one run, as it was frozen, into that of another."""
    return diff(frozen_graph(before), frozen_graph(after))


def frozen_graph(job: KnownJob) -> Graph:
    """The graph that a run was made from."""
    path = os.path.join(job.record.run, _GRAPH)
    try:
        return from_json(read_bounded(path, _LIMIT).decode())
    except (GraphError, ValueError) as error:
        raise RunError(f"{path} is no frozen graph: {error}") from error
