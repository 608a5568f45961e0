"""``forge graph``: the object graph of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import DEPTH, EDIT, JSON, OUTPUT, TARGET, Option
from forge.cli.registry import Verb
from forge.render.forms import FORMS

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    options, config = context.options, context.config
    if options.depth is not None and options.depth < 0:
        raise UsageError(f"--depth cannot be {options.depth}", hint="write a whole number from 0 on")
    form = "json" if options.json else options.format
    parts = {"target": options.target, "depth": options.depth, "focus": options.focus, "links": options.links}
    if form == "tree" and context.to_terminal:
        from shutil import get_terminal_size  # only a terminal has a width

        text = config.draw(form, **parts, color=context.output.colour, width=get_terminal_size().columns)
    else:
        text = config.draw(form, **parts)
    context.emit(text, config.name, FORMS[form])
    return 0


VERB = Verb(
    name="graph",
    summary="draw the graph of objects that the config describes",
    help="""\
Draw the graph of objects that a config describes. An object that several others use is one node. Nothing is imported
and nothing is built.

  forge graph
  forge graph --format svg -o graph.svg
  forge graph --format svg --links vscode -o graph.svg
  forge graph --format html -e --focus optimizer
""",
    run=_run,
    options=(
        Option(("--format",), "what to make of it", "FORM", choices=tuple(FORMS), default="tree"),
        TARGET,
        DEPTH,
        Option(("--focus",), "show this node and what stands next to it", "NODE", completes="node"),
        Option(("--links",), "make an SVG lead to the lines it shows", "WHERE", choices=("file", "vscode")),
        JSON,
        OUTPUT,
        EDIT,
    ),
    takes_config=True,
)
