"""``forge new``: a project or a config to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import EDIT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.base.origin import shown_path  # `forge --help` makes nothing
    from forge.cli.scaffold import new_config, new_project

    kind, name = context.words
    parent = getattr(context.options, "from")
    if kind == "project" and parent:
        raise UsageError("--from belongs to `forge new config`", hint="forge new config NAME --from CONFIG")
    made = new_project(name) if kind == "project" else new_config(context.own_project, name, parent)
    context.output.write(shown_path(made))
    if context.options.edit:
        from forge.cli.editor import open_files  # only with -e

        open_files([made])
    return 0


VERB = Verb(
    name="new",
    summary="make a project or a config that works as it is",
    help="""\
Make a project in a new folder: a config that trains a tiny model on text files, the code that reads them, and a
README. Or make a config in the current project that stands on another one (--from; by default the project's default
config), to be changed from there.

  forge new project haiku
  forge -p haiku new config longer --from train
""",
    run=_run,
    options=(Option(("--from",), "the config to stand on", "CONFIG", completes="config"), EDIT),
    positionals=(
        Positional("KIND", "project or config", choices=("project", "config")),
        Positional("NAME", "the folder of the project, or the name of the config", completes="file"),
    ),
)
