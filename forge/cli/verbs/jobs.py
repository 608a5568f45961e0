"""``forge jobs``: the runs that were started, and how they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from forge.cli.columns import in_columns
from forge.cli.options import JSON, Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.cli.session import Context
    from forge.control.known import KnownJob

__all__ = ["VERB"]

_HEAD: Final = ("job", "config", "state", "step", "loss", "time", "run folder")
_ENDED: Final = 5  # of those that have ended, the newest


def _run(context: Context) -> int:
    from forge.control.known import known_jobs  # `forge --help` asks for no job

    jobs = known_jobs()
    ended = [job for job in jobs if job.over]
    hidden = [] if context.options.all else ended[:-_ENDED]
    shown = [job for job in jobs if job not in hidden]
    if context.options.json:
        context.emit_json([_data(job) for job in shown], "jobs")
        return 0
    if shown:
        context.output.write(in_columns([_HEAD, *map(_row, shown)]))
    else:
        context.output.note("no jobs: `forge train` starts one")
    if hidden:
        context.output.note(f"{len(hidden)} older: jobs --all shows them, cleanup forgets those that have ended")
    return 0


def _row(job: KnownJob) -> Sequence[str]:
    from forge.base.origin import shown_path
    from forge.control.known import shown_loss, spoken_time
    from forge.control.progress import progress_of

    progress = progress_of(job.record.run)
    time = "" if job.seconds is None else spoken_time(job.seconds)
    return job.id, job.config, job.how, progress.steps, shown_loss(progress.loss), time, shown_path(job.record.run)


def _data(job: KnownJob) -> dict[str, Any]:
    from forge.control.progress import progress_of

    record = asdict(job.record)
    process = job.record.process
    kept = {name: value for name, value in record.items() if name not in {"starter", "keeper", "process"}}
    progress = progress_of(job.record.run)._asdict()
    return {**kept, "pid": process and process.pid, "state": job.state, "seconds": job.seconds, **progress}


VERB = Verb(
    name="jobs",
    summary="list the runs that were started, and how they are",
    help="""\
One line for each run that `forge train` has started: running, finished, stopped (on request, and saved), failed, aborted, lost (gone,
and nobody saw how it ended), or on another machine that shares this home folder. The newest five of those that have ended are
shown; --all shows every one that `forge cleanup` has not removed.

  forge jobs
  forge jobs --all
  forge jobs --json
""",
    run=_run,
    options=(Option(("--all",), "show every job that has ended too"), JSON),
)
