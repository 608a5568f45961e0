"""``config``: choose the config that the lines after it work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import Positional
from forge.cli.registry import Verb
from forge.cli.session import current_folder
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    project = context.project
    if not context.words:
        chosen = shell.config or project.project.default_config
        context.output.write(
            "\n".join(
                f" {'*' if config.name == chosen else ' '} {config.name}" for config in project.configs(examine=False)
            )
        )
        return 0
    name = project.project.config_name(context.words[0])
    shell.turn_to(current_folder(), shell.project, name)
    return 0


VERB = Verb(
    name="config",
    aliases=("configs",),
    summary="choose a config of the project, or list them",
    help="""\
Choose the config that the following lines work on, with or without .yaml. Without a name, the project's configs are listed,
the chosen one with a star; `ls` says what each is for. Pending overrides were made for the config before: they stay behind.

  config pretrain/tiny
""",
    run=_run,
    positionals=(Positional("NAME", "a config of the project", least=0, completes="config"),),
)
