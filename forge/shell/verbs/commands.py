"""``commands``: what the command line has too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.registry import VERBS, Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.cli.help import verb_table  # only this verb and help need the texts

    context.output.write("\n".join(verb_table("verbs of the command line", VERBS.all)))
    return 0


VERB = Verb(
    name="commands",
    summary="list the verbs that the command line has too",
    help="List the verbs that can also be written as `forge VERB`. `help` lists these and those that only the shell has.",
    run=_run,
)
