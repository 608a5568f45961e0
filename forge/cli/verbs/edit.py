"""``forge edit``: open the files of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.cli.editor import open_files  # `forge --help` opens no editor

    files = context.config.files
    chosen = files if context.options.all else [file for file in files if context.project.owns(file)] or files[:1]
    if context.options.list:
        context.output.write("\n".join(chosen))
    else:
        open_files(chosen)
    return 0


VERB = Verb(
    name="edit",
    summary="open the files of the config in your editor",
    help="""\
Open the project's own files that make the config; --all adds those of the library and of other projects. The editor is
VS Code when the terminal belongs to it, a vim server when VIM_SERVERNAME names one, otherwise $VISUAL or $EDITOR.

  forge edit
  forge -t pretrain/tiny edit --all
""",
    run=_run,
    options=(
        Option(("--all",), "the files of the library and of other projects too"),
        Option(("--list",), "print the files in place of opening them"),
    ),
    takes_config=True,
)
