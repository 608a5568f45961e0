"""``forge step``: take the first steps of a run and leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import EDIT, JSON, OUTPUT, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.cli.workbench import ask, require_run, show_answer  # `forge --help` starts nothing

    count = _count(context.words)
    require_run(context)
    return show_answer(context, ask(context, "step", {"count": count, "as_json": context.options.json}))


def _count(words: list[str]) -> int:
    text = words[0] if words else "1"
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is no number of steps", hint="write a whole number from 1 on: forge step 3")
    return int(text)


VERB = Verb(
    name="step",
    summary="take a training step of the config, and leave nothing behind",
    help="""\
Set up the run that the config describes as `forge train` does, take its first step or its first N steps, and print
for each the loss, the norm of the gradients, the learning rate, the speed, and where the time went: data, forward,
backward, optimizer; then the peak of memory, and how long the whole run would take. The first step of a process is slower
than those after it.

It begins from nothing: checkpoints are neither read nor written, loggers are left out, and nothing is written into the
output folder. The loss is that of the first step of `forge train`.

Exit code 0: well. 1: the loss is not finite, or a step failed. 2: the config or the line is wrong.

  forge -t pretrain/tiny step
  forge -t pretrain/tiny step 5 optimizer.lr=0.01
  forge -t chat/lora step -M MODEL_FOLDER --json
""",
    run=_run,
    options=(JSON, OUTPUT, EDIT),
    positionals=(Positional("N", "how many steps; 1 without it", least=0),),
    takes_config=True,
)
