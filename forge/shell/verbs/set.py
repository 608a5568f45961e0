"""``set``: change values and group choices for the lines after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.registry import Verb
from forge.shell.changes import with_changes
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    given = context.config.overrides[len(shell.overrides) :]
    if not given:
        raise UsageError(
            "set needs a change", hint="write set optimizer.lr=1e-4, or a flag of the config: set --max-steps 10"
        )
    overrides = with_changes(shell.overrides, [change if isinstance(change, str) else change[0] for change in given])
    context.project.config(shell.config, *overrides).graph  # noqa: B018 - a change that the config does not take is not kept
    shell.choose(shell.choice._replace(overrides=overrides))
    return 0


VERB = Verb(
    name="set",
    summary="change values and group choices for all lines that follow",
    help="""\
Change values (a.b=1, +a.c=2, ~a.d), group choices (optimizer=muon) or the config's own flags (--max-steps 10) for all lines
that follow. A change that does not compose is not made. `overrides` lists what is set, `unset` takes a change back, `save-as`
writes a config with exactly these changes.

  set optimizer=adafactor trainer.max_steps=20
  set --learning-rate 1e-4
""",
    run=_run,
    takes_config=True,
)
