"""``project``: choose what the lines after it work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import Positional
from forge.cli.registry import Verb
from forge.cli.session import current_folder, project_of
from forge.shell.state import shell_session

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    shell = shell_session(context)
    if context.words:
        shell.turn_to(current_folder(), project_of(shell, context.words[0]).folder)
        context.output.note(shell.where)
        return 0
    from forge.api.project import all_projects  # only a list needs all of them

    here = project_of(shell).folder if shell.project_name else ""
    found = all_projects()
    width = max((len(project.name) for project in found), default=0)
    context.output.write(
        "\n".join(
            f" {'*' if project.folder == here else ' '} {project.name:<{width}}  {project.description}".rstrip()
            for project in found
        )
    )
    return 0


VERB = Verb(
    name="project",
    summary="choose a project, or list those there are",
    help="""\
Choose a project by its name or folder without going there; `cd` goes there. Without a name, the projects below the current
folder and those that come with forge are listed, the chosen one with a star.

  project pydoc
""",
    run=_run,
    positionals=(Positional("PROJECT", "a project's folder or name", least=0, completes="project"),),
)
