"""``forge abort``: end a job at once, without saving it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import JOB
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.control.jobs import abort, tell  # `forge --help` asks for no job
    from forge.control.known import find_job

    job = find_job(*context.words, running=True)
    context.output.write(tell(abort(job)))
    return 0


VERB = Verb(
    name="abort",
    summary="end a job at once, without saving it",
    help="""\
End a job with every process that it has started: they are asked to end, and four seconds later they are made to. Nothing is saved; the
checkpoints that are there stay good. A run on other machines, or of another user, sees the file ABORT in its folder, and ends itself.

  forge abort
  forge abort tiny-1
""",
    run=_run,
    positionals=(JOB,),
)
