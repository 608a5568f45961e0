"""``undo``: take back the last change of what is worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import Verb
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    shell.undo()
    context.output.note(shell.where)
    return 0


VERB = Verb(
    name="undo",
    summary="go back to the project, config and overrides before",
    help="Go back one step: a `set`, `unset`, `config`, `project` or `cd` is taken back. `redo` goes forward again. Files are not touched.",
    run=_run,
)
