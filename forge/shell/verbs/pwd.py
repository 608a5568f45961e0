"""``pwd``: where the shell is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import Verb
from forge.cli.session import current_folder
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    context.output.write(current_folder())
    context.output.note(shell_session(context).where)
    return 0


VERB = Verb(
    name="pwd",
    summary="print the current folder and the project it belongs to",
    help="Print the current folder and, on the line of messages, the project, the config and how much is set.",
    run=_run,
)
