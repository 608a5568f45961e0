"""``unset``: take back what was set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb
from forge.shell.changes import without
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    if not context.words and not context.options.all:
        raise UsageError("unset needs a key", hint="`overrides` lists what is set; unset --all takes everything back")
    overrides = () if context.options.all else without(shell.overrides, context.words)
    if overrides:
        context.project.config(shell.config, *overrides).graph  # noqa: B018 - what is left has to compose without it
    shell.choose(shell.choice._replace(overrides=overrides))
    return 0


VERB = Verb(
    name="unset",
    summary="take back what was set",
    help="""\
Take back the changes to some keys, or with --all every one.

  unset optimizer.lr
  unset --all
""",
    run=_run,
    options=(Option(("--all",), "take back everything that is set"),),
    positionals=(Positional("KEY", "a key that was set", least=0, most=None, completes="override"),),
)
