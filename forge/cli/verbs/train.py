"""``forge train``: check a config, freeze it into a run folder, and run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.origin import shown_path
from forge.cli.options import Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.api import ConfigHandle, PlannedRun
    from forge.cli.session import Context
    from forge.launch.supervise import Detached

__all__ = ["VERB"]


def _run(context: Context) -> int:
    planned = context.config.plan_run(context.options.devices)
    if not _is_sound(context, context.config):
        return 2
    if context.options.dry_run:
        context.output.write(_plan(planned))
        return 0
    context.output.flush()
    if not context.options.detach:
        return planned.start()
    context.output.write(_started(planned.start_detached()))
    return 0


def _started(job: Detached) -> str:
    where = f"process {job.pid}, run folder {shown_path(job.folder)}"
    if not job.id:
        return f"started: {where}; a file named STOP in that folder stops it"
    return f"{job.id} started: {where}\n  logs {job.id} -f, attach {job.id}, stop {job.id}: to see and to end it"


def _is_sound(context: Context, config: ConfigHandle) -> bool:
    """Whether a run of the config can begin; what is wrong with it is printed."""
    findings = [finding for finding in config.check() if finding.severity == "error"]
    for finding in findings:
        context.output.note(str(finding))
    if findings:
        context.output.note(f"{config.name}: nothing was started, correct the {len(findings)} above first")
    return not findings


def _plan(planned: PlannedRun) -> str:
    return "\n".join(
        [
            f"config       {planned.config.name} of {planned.config.project.name}",
            f"output       {planned.output}",
            f"run folder   {planned.folder}",
            f"command      {planned.launch}",
        ]
    )


VERB = Verb(
    name="train",
    summary="train what a config describes",
    help="""\
Check the config, freeze it into a new run folder, OUTPUT_DIR/runs/TIME-CONFIG, and train there. Ctrl-C, SIGTERM,
SIGUSR1 or a file named STOP in the run folder ends the run after the current step and saves it; a second Ctrl-C ends it at
once. With --detach the run goes on in the background, also when the terminal is closed; what it prints is in the run folder's
logs/console.log. `forge jobs` lists the runs, `forge logs`, `attach`, `save`, `stop` and `abort` look after them.

Exit code 0: every step was taken. 3: stopped on request, saved, to be continued with --resume-from-checkpoint auto.
2: nothing was started, the config or the command line is wrong. 1: failed. 130: ended by a second Ctrl-C. With --detach 0 says that
it was started.

  forge -p projects/pydoc -t pretrain/tiny train
  forge -t chat/lora train -M MODEL_FOLDER --max-steps 10 --save-strategy no
  forge -t chat/lora train --resume-from-checkpoint auto
  forge -t chat/full train --dry-run
  forge -t chat/full train --detach
""",
    run=_run,
    options=(
        Option(("--dry-run",), "print what would run, and start nothing"),
        Option(("--detach",), "run in the background, and return at once"),
        Option(("-d", "--devices"), "cpu, or the number of a GPU; without it the first GPU, if there is one", "N"),
    ),
    takes_config=True,
)
