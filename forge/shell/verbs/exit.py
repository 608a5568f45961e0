"""``exit``: leave the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import Verb
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell_session(context).leaving = True
    return 0


VERB = Verb(
    name="exit",
    aliases=("quit",),
    summary="leave the shell, as Ctrl-D does",
    help="Leave the shell. Trainings in the background go on; `jobs` finds them again, from any shell.",
    run=_run,
)
