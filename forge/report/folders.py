"""Where the runs are: the folders of runs below some places, and the one that a word means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.base.spelling import did_you_mean
from forge.control.known import FACTS, job_of_run
from forge.control.record import read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forge.control.known import KnownJob

__all__ = ["is_run", "named_run", "output_of", "runs_below"]

_RUNS: Final = "runs"
_NOT_ENTERED: Final = frozenset({"checkpoints", "tensorboard", "logs", "node_modules", "__pycache__"})


def is_run(folder: str) -> bool:
    """Whether a folder is that of a run."""
    return os.path.isfile(os.path.join(folder, FACTS)) and os.path.isfile(os.path.join(folder, "graph.json"))


def output_of(run_folder: str) -> str:
    """The output folder that a run lies in."""
    return os.path.dirname(os.path.dirname(os.path.abspath(run_folder)))


def runs_below(folders: Iterable[str]) -> list[KnownJob]:
    """The runs in these folders and below, the oldest first."""
    found = dict.fromkeys(os.path.realpath(run) for folder in folders for run in _below(folder))
    jobs = [job for run in found if (job := job_of_run(run)) is not None]
    return sorted(jobs, key=lambda job: (job.record.started, job.record.run))


def named_run(name: str, places: Iterable[str]) -> KnownJob:
    """The run that is meant: its folder, the id of its job, its folder's name, or the output folder whose newest it is."""
    record = read_record(name)
    folder = name if record is None else record.run
    if is_run(folder) and (own := job_of_run(folder)) is not None:
        return own
    if record is not None:
        raise UsageError(f"the run folder of {name} is gone: {folder}")
    if os.path.isdir(name):
        inside = runs_below([name])
        if inside:
            return inside[-1]
        raise UsageError(f"there is no run in {name}", hint="a run is OUTPUT_DIR/runs/TIME-CONFIG")
    known: dict[str, list[KnownJob]] = {}
    for job in runs_below(places):
        known.setdefault(os.path.basename(job.record.run), []).append(job)
    found = known.get(name, [])
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} runs are called {name}", hint=f"name a folder: {shown_path(found[0].record.run)}"
        )
    if found:
        return found[0]
    raise UsageError(f"there is no run {name!r}", hint=did_you_mean(name, known) or "`forge runs` lists the runs")


def _below(folder: str) -> Iterator[str]:
    if is_run(folder):
        yield folder
        return
    for place, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if name not in _NOT_ENTERED and not name.startswith("."))
        if os.path.basename(place) == _RUNS:
            yield from (os.path.join(place, name) for name in inner if is_run(os.path.join(place, name)))
            inner.clear()
