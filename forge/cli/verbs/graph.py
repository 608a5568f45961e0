"""``forge graph``: the object graph of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ToolError, UsageError
from forge.cli.options import DEPTH, EDIT, JSON, OUTPUT, TARGET, Option
from forge.cli.registry import Verb
from forge.cli.session import write_result
from forge.render.forms import FORMS

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_OPENED = ("svg", "html")


def _run(context: Context) -> int:
    options, config = context.options, context.config
    if options.depth is not None and options.depth < 0:
        raise UsageError(f"--depth cannot be {options.depth}", hint="write a whole number from 0 on")
    form = "json" if options.json else options.format
    if options.open and form not in _OPENED:
        raise UsageError(f"the {form} form is text, --open is for a picture", hint="add --format svg or --format html")
    parts = {"target": options.target, "depth": options.depth, "focus": options.focus, "links": options.links}
    if form == "tree" and context.to_terminal:
        from shutil import get_terminal_size  # only a terminal has a width

        text = config.draw(form, **parts, color=context.output.colour, width=get_terminal_size().columns)
    else:
        text = config.draw(form, **parts)
    if options.open:
        _open(context, text, FORMS[form])
    else:
        context.emit(text, config.name, FORMS[form])
    return 0


def _open(context: Context, text: str, suffix: str) -> None:
    """Show the picture with the system's own program, and say where it is; without a display, only that."""
    from forge.cli.editor import named_file  # only with --open
    from forge.cli.opener import open_in_background

    path = context.options.output
    if path is None:
        path = named_file(text, context.config.name, suffix)
    else:
        write_result(path, text)
    context.output.write(path)
    try:
        open_in_background(path)
    except ToolError as error:
        context.output.note(str(error))


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
  forge graph --format svg --open
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
        Option(
            ("--open",), "show the svg or html with the system's own program, or in the VS Code around this terminal"
        ),
    ),
    takes_config=True,
)
