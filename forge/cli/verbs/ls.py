"""``forge ls``: which configs there are."""

from __future__ import annotations

import os
import shutil
import textwrap
from typing import TYPE_CHECKING, Final

from forge.cli.options import EDIT, JSON, OUTPUT, RECURSIVE
from forge.cli.registry import Verb
from forge.cli.session import current_folder

if TYPE_CHECKING:
    from forge.api.project import ConfigInfo, ProjectHandle
    from forge.cli.session import Context

__all__ = ["VERB", "projects_of"]

_LEAST: Final = 20


def _run(context: Context) -> int:
    projects = projects_of(context)
    listed = [(project, project.configs()) for project in projects]
    if context.options.json:
        context.emit_json([_data(project, configs) for project, configs in listed], "configs")
    else:
        columns = shutil.get_terminal_size().columns if context.to_terminal else None
        context.emit("\n\n".join(_text(project, configs, columns) for project, configs in listed), "configs", ".txt")
    return 0


def projects_of(context: Context) -> list[ProjectHandle]:
    """The chosen project, or with ``-r`` all projects below its folder or the current one, and those that are part of forge."""
    if not context.options.recursive:
        return [context.project]
    from forge.api.project import all_projects  # `forge --help` needs no project

    chosen = context.session.project
    if chosen is None:
        return all_projects(current_folder())
    return all_projects(chosen if os.path.isdir(chosen) else context.project.folder)


def _text(project: ProjectHandle, configs: list[ConfigInfo], columns: int | None) -> str:
    from forge.base.origin import shown_path

    title = f"{project.name}: {project.description}" if project.description else project.name
    width = max((len(config.name) for config in configs), default=0)
    lines = [f"{title}  ({shown_path(project.folder)})"]
    for config in configs:
        mark = "*" if config.default else " "
        meaning = f"broken: {config.problem}" if config.problem else config.description
        name = f" {mark} {config.name:<{width}}  "
        lines += [name.rstrip()] if not meaning else _beside(name, meaning, columns)
    if not configs:
        lines.append("   no configs yet; `forge new config NAME` makes one")
    return "\n".join(lines)


def _beside(name: str, meaning: str, columns: int | None) -> list[str]:
    """A name with its meaning beside it, in as many lines as a screen of these columns needs; programs get one."""
    if columns is None:
        return [name + meaning]
    room = max(columns - len(name), _LEAST)
    first, *more = textwrap.wrap(meaning, room)
    return [name + first, *(" " * len(name) + line for line in more)]


def _data(project: ProjectHandle, configs: list[ConfigInfo]) -> dict[str, object]:
    return {
        "project": project.name,
        "description": project.description,
        "folder": project.folder,
        "configs": [config._asdict() for config in configs],
    }


VERB = Verb(
    name="ls",
    summary="list the configs of a project, with those that are broken",
    help="""\
List the configs of the project, or with -r of every project below the current folder and of those that come with
forge. The project's default config is marked with a star; a config that cannot be composed is marked as broken, with
the reason.

  forge ls
  forge ls -r --json
""",
    run=_run,
    options=(RECURSIVE, JSON, OUTPUT, EDIT),
)
