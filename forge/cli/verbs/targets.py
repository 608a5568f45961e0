"""``forge targets``: what can be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, JSON, OUTPUT
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    config = context.config
    found = config.targets()
    if context.options.json:
        context.emit_json([target._asdict() for target in found], config.name)
        return 0
    width = max((len(target.key) for target in found), default=0)
    lines = [f"{'*' if target.main else ' '} {target.key:<{width}}  {target.target}" for target in found]
    context.emit("\n".join(lines) or "the config describes no objects, only values", config.name, ".txt")
    return 0


VERB = Verb(
    name="targets",
    summary="list what can be built from the config",
    help="""\
List every object that the config describes: the path by which `build`, `code` and `graph` take it as --target, and
what it is made by. The config's main object is marked with a star.

  forge targets
""",
    run=_run,
    options=(JSON, OUTPUT, EDIT),
    takes_config=True,
)
