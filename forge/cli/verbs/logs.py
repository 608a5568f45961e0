"""``forge logs``: what a job in the background prints."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import JOB, Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge.cli.session import Context
    from forge.control.known import KnownJob

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.control.follow import last_lines  # `forge --help` asks for no job
    from forge.control.known import find_job

    number: int | None = context.options.lines
    if number is not None and number < 0:
        raise UsageError(f"-n is a number of lines, not {number}")
    job = find_job(*context.words)
    console = job.record.console
    if not os.path.isfile(console):
        raise UsageError(
            f"{job.id} has no console log{' any more' if console else ': it runs on a terminal'}",
            hint=f"its figures are in {os.path.join(job.record.run, 'metrics.jsonl')}",
        )
    lines, place = last_lines(console, number)
    if context.options.follow:
        return _follow(context, job, lines, place)
    for line in lines:
        context.output.write(line)
    return 0


def _follow(context: Context, job: KnownJob, lines: Iterable[str], place: int) -> int:
    """Print each line as it comes, until the job has ended."""
    from forge.control.follow import follow_log
    from forge.control.jobs import tell
    from forge.control.known import as_now

    try:
        for line in chain(lines, follow_log(job.record.console, place, lambda: as_now(job).over)):
            if line is not None:
                context.output.write(line)
                context.output.flush()
    except KeyboardInterrupt:
        context.output.note(f"{job.id} goes on")
        return 0
    context.output.note(tell(as_now(job)))
    return 0


VERB = Verb(
    name="logs",
    summary="show what a job in the background prints",
    help="""\
Print the console log of a job that was started with `train --detach`, or with `train ... &` in the shell. With -f, go on until the job
ends; Ctrl-C leaves and does not touch the job.

  forge logs tiny-1
  forge logs tiny-1 -n 20 -f
""",
    run=_run,
    options=(
        Option(("-f", "--follow"), "go on until the job ends"),
        Option(("-n", "--lines"), "begin with the last N lines", "N", type=int),
    ),
    positionals=(JOB,),
)
