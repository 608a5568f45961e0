"""``forge cleanup``: forget the jobs that have ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from forge.cli.options import JOB
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.control.jobs import cleanup  # `forge --help` asks for no job

    gone = cleanup(context.words)
    if gone:
        context.output.write(f"forgot {', '.join(job.id for job in gone)}; the run folders stay")
    else:
        context.output.note("no job has ended, so there is nothing to forget")
    return 0


VERB = Verb(
    name="cleanup",
    summary="forget the jobs that have ended",
    help="""\
Remove the records of jobs that have ended, all of them or those that are named, from the list that `forge jobs` shows. The run folders
with their checkpoints and figures stay.

  forge cleanup
  forge cleanup tiny-1 tiny-2
""",
    run=_run,
    positionals=(replace(JOB, help="the ids of jobs that have ended; by default all of these", most=None),),
)
