"""``forge diff``: what differs between two configs, or between a config and a run of it."""

from __future__ import annotations

import os
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.cli.options import EDIT, JSON, OUTPUT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.api.config import ConfigHandle
    from forge.api.difference import Difference
    from forge.cli.parse import Given
    from forge.cli.session import Context

__all__ = ["VERB"]

_SUFFIXES = {"text": ".txt", "svg": ".svg", "overrides": ".txt"}


def _run(context: Context) -> int:
    if context.options.last_run or context.options.run:
        difference = _since_a_run(context)
    else:
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
        columns = get_terminal_size().columns if context.to_terminal else None
        text = difference.text(color=context.output.colour and context.to_terminal, width=columns)
    if text or context.options.output:
        context.emit(text, "diff", _SUFFIXES[form])


def _since_a_run(context: Context) -> Difference:
    """What a run of the chosen config would have now, compared with one that was."""
    if context.words:
        raise UsageError(
            f"{context.words[0]} is one side too many: a run is compared with the chosen config",
            hint=f"forge -t {context.words[0]} diff --last-run",
        )
    folder = context.options.run
    if folder and context.options.last_run:
        raise UsageError("--last-run and --run name two runs", hint="write one of them")
    if not folder:
        run = context.config.last_run()
        context.output.note(f"compared with {shown_path(run.folder)}")
        return run.diff(context.config)
    from forge.api.run import PastRun  # only a run that is named

    if not os.path.isdir(folder):
        raise UsageError(f"there is no folder {folder!r}", hint="a run is OUTPUT_DIR/runs/TIME-CONFIG")
    return PastRun(folder).diff(context.config)


def _shell_line(overrides: list[str]) -> str:
    """The overrides as one line that a shell reads back."""
    import shlex  # only for this form

    return shlex.join(overrides)


def _sides(context: Context) -> tuple[ConfigHandle, ConfigHandle]:
    """The two configs: each name opens a side, and what follows it changes that side."""
    pending = context.session.overrides
    if not context.items and pending:
        return context.project.config(context.session.config), context.config
    sides: list[tuple[str | None, list[Given]]] = [(None, [])]
    for item in context.items:
        if item.kind == "word":
            sides.append((item.text, []))
        else:
            sides[-1][1].append(item)
    if len(sides) == 1:
        if not sides[0][1]:
            raise UsageError(
                "diff needs something to compare with",
                hint="forge diff A B, forge -t A diff key=value, or forge diff --last-run",
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
    summary="show what differs between two configs, or since a run (exit code 1 when something does)",
    help="""\
Compare two configs as graphs of objects. With two names, the first with the second, each changed by the overrides that
follow its name; with one name, the chosen config (-t) with that one; with overrides alone, the chosen config with
itself so changed. `--format overrides` prints the line that turns the first into the second. In the shell, `diff` alone
shows what the pending overrides change.

--last-run compares the newest run in the config's output folder, as it was frozen when it began, with what a run of the
config would be now; --run names another run's folder. There, `--format overrides` prints the line that makes the config
that run again.

  forge diff pretrain/tiny chat/full
  forge diff pretrain/tiny optimizer=adafactor pretrain/tiny
  forge -t pretrain/tiny diff optimizer=adafactor
  forge -t pretrain/tiny diff --last-run
""",
    run=_run,
    options=(
        Option(("--last-run",), "compare the config's newest run with the config"),
        Option(("--run",), "compare this run with the config: OUTPUT_DIR/runs/TIME-CONFIG", "FOLDER", completes="file"),
        Option(("--format",), "how to show it", "FORM", choices=tuple(_SUFFIXES), default="text"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    positionals=(Positional("CONFIG", "a config of the project", least=0, most=2, completes="config"),),
    takes_config=True,
)
