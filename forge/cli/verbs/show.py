"""``forge show``: the composed config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, JSON, ORIGINS, OUTPUT, Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    options, config = context.options, context.config
    if options.json:
        context.emit_json(config.data(resolve=options.resolve, path=options.path), config.name)
    else:
        text = config.show(resolve=options.resolve, origins=options.origins, path=options.path)
        context.emit(text, config.name, ".yaml")
    return 0


VERB = Verb(
    name="show",
    aliases=("pp",),
    summary="print the composed config as YAML",
    help="""\
Print the config as it is after every default, group choice and override took part.

  forge show
  forge -t pretrain/tiny show optimizer=adafactor trainer.max_steps=10
  forge show --path optimizer --origins
""",
    run=_run,
    options=(
        Option(("--resolve",), "replace every ${...} that stands for a value; shared objects stay references"),
        ORIGINS,
        Option(("--path",), "show this part only, as a dotted path", "KEY", completes="key"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    takes_config=True,
)
