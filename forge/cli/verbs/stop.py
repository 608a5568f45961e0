"""``forge stop``: end a job after its step, and save it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import JOB, Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.control.jobs import stop, tell, wait_for_end  # `forge --help` asks for no job
    from forge.control.known import find_job

    job = find_job(*context.words, running=True)
    stop(job)
    context.output.note(f"{job.id} is asked to stop: it takes its step to the end, and saves")
    if context.options.no_wait:
        return 0
    try:
        ended = wait_for_end(job)
    except KeyboardInterrupt:
        context.output.note(f"{job.id} will stop by itself")
        return 0
    context.output.write(tell(ended))
    return 0 if ended.state in {"stopped", "finished"} else 1


VERB = Verb(
    name="stop",
    summary="end a job after its step, and save it",
    help="""\
Ask a job to end after the step that it is in, with a last checkpoint from which `train --resume-from-checkpoint auto` goes on, and wait
until it has. Ctrl-C leaves the waiting; the job stops all the same.

  forge stop
  forge stop tiny-1 --no-wait
""",
    run=_run,
    options=(Option(("--no-wait",), "ask, and return at once"),),
    positionals=(JOB,),
)
