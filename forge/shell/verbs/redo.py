"""``redo``: make the change again that was undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import Verb
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    shell.redo()
    context.output.note(shell.where)
    return 0


VERB = Verb(
    name="redo",
    summary="make the change again that was undone last",
    help="Make the change of project, config or overrides again that `undo` took back.",
    run=_run,
)
