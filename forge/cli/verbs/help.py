"""``forge help``: the same texts as ``--help``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.cli.help import overview, verb_help  # only this verb and --help need the texts

    verbs = context.session.verbs
    text = verb_help(context.session, verbs.find(context.words[0])) if context.words else overview(verbs)
    context.output.write(text)
    return 0


VERB = Verb(
    name="help",
    summary="explain a verb",
    help="""\
Explain a verb and, when it works on a config, the flags that the chosen config adds.

  forge help show
""",
    run=_run,
    positionals=(Positional("VERB", "a verb", least=0, completes="verb"),),
)
