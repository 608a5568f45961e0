"""``cd``: go to another folder, and to the project that is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import Positional
from forge.cli.registry import Verb
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    given = context.words[0] if context.words else "~"
    folder = shell.past[-1].folder if given == "-" and shell.past else os.path.abspath(os.path.expanduser(given))
    if not os.path.isdir(folder):
        raise UsageError(f"there is no folder {given}", hint="`cd ..` goes up, `ls -r` lists the projects below")
    shell.turn_to(folder, None)
    context.output.note(shell.where)
    return 0


VERB = Verb(
    name="cd",
    summary="go to another folder, and to the project around it",
    help="""\
Go to a folder, without one to your home folder. The project around it becomes the one that is worked on. Where that is
another one, the chosen config and the pending overrides stay behind, and `undo` comes back to them.

  cd projects/pydoc
  cd ..
""",
    run=_run,
    positionals=(Positional("FOLDER", "a folder", least=0, completes="folder"),),
)
