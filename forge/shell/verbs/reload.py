"""``reload``: read the files again, now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import Verb
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    config = context.config
    config.graph  # noqa: B018 - what is wrong with the files is said now
    context.output.note(f"{shell.where}, {len(config.files)} files read")
    return 0


VERB = Verb(
    name="reload",
    summary="read the files again and say whether they compose",
    help="""\
Every line sees the files as they are at that moment, so nothing has to be reloaded before it. This composes the config now
and says what is wrong with it.
""",
    run=_run,
)
