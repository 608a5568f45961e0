"""``forge diff``: what differs between two configs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import EDIT, JSON, OUTPUT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.api import ConfigHandle, Difference
    from forge.cli.parse import Given
    from forge.cli.session import Context

__all__ = ["VERB"]

_SUFFIXES = {"text": ".txt", "svg": ".svg", "overrides": ".txt"}


def _run(context: Context) -> int:
    before, after = _sides(context)
    difference = before.diff(after)
    if context.options.json:
        context.emit_json(difference.data(), "diff")
    else:
        _show(context, difference)
    return 1 if difference else 0


def _show(context: Context, difference: Difference) -> None:
    form = context.options.format
    if form == "svg":
        text = difference.svg()
    elif form == "overrides":
        text = _shell_line(difference.overrides())
    else:
        text = difference.text(color=context.output.colour and context.to_terminal)
    if text or context.options.output:
        context.emit(text, "diff", _SUFFIXES[form])


def _shell_line(overrides: list[str]) -> str:
    """The overrides as one line that a shell reads back."""
    import shlex  # only for this form

    return shlex.join(overrides)


def _sides(context: Context) -> tuple[ConfigHandle, ConfigHandle]:
    """The two configs: each name opens a side, and what follows it changes that side."""
    sides: list[tuple[str | None, list[Given]]] = [(None, [])]
    for item in context.items:
        if item.kind == "word":
            sides.append((item.text, []))
        else:
            sides[-1][1].append(item)
    if len(sides) == 1:
        if not sides[0][1]:
            raise UsageError(
                "diff needs something to compare with", hint="forge diff A B, or forge -t A diff key=value"
            )
        sides.insert(0, (None, []))
    elif len(sides) > 2:  # noqa: PLR2004 - two names were given, so the chosen config is not asked for
        if sides[0][1]:
            raise UsageError(
                "an override stands before both configs",
                hint="write it behind the config that it changes: diff A x=1 B",
            )
        del sides[0]
    first, second = (context.config_with(name, items) for name, items in sides)
    return first, second


VERB = Verb(
    name="diff",
    summary="show what differs between two configs (exit code 1 when something does)",
    help="""\
Compare two configs as graphs of objects. With two names, the first with the second, each changed by the overrides that
follow its name; with one name, the chosen config (-t) with that one; with overrides alone, the chosen config with
itself so changed. `--format overrides` prints the line that turns the first into the second.

  forge diff pretrain/tiny chat/full
  forge diff pretrain/tiny optimizer=adafactor pretrain/tiny
  forge -t pretrain/tiny diff optimizer=adafactor
""",
    run=_run,
    options=(
        Option(("--format",), "how to show it", "FORM", choices=tuple(_SUFFIXES), default="text"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    positionals=(Positional("CONFIG", "a config of the project", least=0, most=2, completes="config"),),
    takes_config=True,
)
