"""``forge code``: the Python that builds a part of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, ORIGINS, OUTPUT, TARGET
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    config = context.config
    text = config.code(context.options.target, origins=context.options.origins)
    context.emit(text, config.name, ".py")
    return 0


VERB = Verb(
    name="code",
    summary="print the Python program that builds the same objects",
    help="""\
Print a Python program that builds what the config describes, without forge. --target takes one part; without it, the
config's main object is taken.

  forge code
  forge code --target optimizer -o optimizer.py
""",
    run=_run,
    options=(TARGET, ORIGINS, OUTPUT, EDIT),
    takes_config=True,
)
