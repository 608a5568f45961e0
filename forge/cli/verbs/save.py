"""``forge save``: have a job make a checkpoint now, and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import JOB
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.base.origin import shown_path  # `forge --help` asks for no job
    from forge.control.jobs import save_now
    from forge.control.known import find_job

    job = find_job(*context.words, running=True)
    try:
        answer = save_now(job)
    except KeyboardInterrupt:
        context.output.note(f"{job.id} will save after its step all the same")
        return 0
    context.output.write(f"{job.id} saved step {answer.step}: {shown_path(answer.path)}")
    return 0


VERB = Verb(
    name="save",
    summary="have a job make a checkpoint now, and go on",
    help="""\
Ask a job for a checkpoint after the step that it is in, and wait until that is on disk, whole; the job goes on meanwhile. A file named
SAVE in the run folder asks for the same.

  forge save
  forge save tiny-1
""",
    run=_run,
    positionals=(JOB,),
)
