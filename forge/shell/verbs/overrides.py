"""``overrides``: what is set and not written to a file yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import Verb
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    overrides = shell_session(context).overrides
    if overrides:
        context.output.write("\n".join(overrides))
    else:
        context.output.note("nothing is set; `set a.b=1` changes a value for the lines that follow")
    return 0


VERB = Verb(
    name="overrides",
    summary="list what is set",
    help="""\
List the changes that `set` made, one a line, as a one-liner would take them. `save-as NAME` writes them to a config, `diff`
shows what they do.
""",
    run=_run,
)
