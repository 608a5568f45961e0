"""``forge trefs``: which files made a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, JSON, OUTPUT, Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_SUFFIXES = {"tree": ".txt", "files": ".txt", "md": ".md", "dot": ".dot", "svg": ".svg"}


def _run(context: Context) -> int:
    config = context.config
    if context.options.json:
        context.emit_json([entry._asdict() for entry in config.sources], config.name)
        return 0
    form = context.options.format
    context.emit(config.draw_sources(form), f"{config.name}-files", _SUFFIXES[form])
    return 0


VERB = Verb(
    name="trefs",
    summary="show which files made the config, and who named them",
    help="""\
Show the files that took part in a config: the config itself, and below each file those that its defaults list names.

  forge trefs
  forge -t pretrain/tiny trefs --format svg -o files.svg
""",
    run=_run,
    options=(
        Option(("--format",), "how to show them", "FORM", choices=tuple(_SUFFIXES), default="tree"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    takes_config=True,
)
