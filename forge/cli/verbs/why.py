"""``forge why``: where a value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, JSON, OUTPUT, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    key = context.words[0]
    reason = context.config.why(key)
    if context.options.json:
        context.emit_json(reason.data(), key)
    else:
        context.emit(str(reason), key, ".txt")
    return 0


VERB = Verb(
    name="why",
    summary="say which file and line set a value, and what it replaced",
    help="""\
Print where a value of the config comes from: each file and line, flag or override that set it, the newest last, with
the value it replaced.

  forge why optimizer.lr
  forge -t pretrain/tiny why trainer.max_steps trainer.max_steps=10
""",
    run=_run,
    options=(JSON, OUTPUT, EDIT),
    positionals=(Positional("KEY", "the value, as a dotted path", completes="key"),),
    takes_config=True,
)
