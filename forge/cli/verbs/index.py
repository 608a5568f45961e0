"""``forge index``: one page about a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, JSON, OUTPUT
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.api.project import ConfigInfo, ProjectHandle
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    project = context.project
    configs, groups = project.configs(), project.groups()
    if context.options.json:
        context.emit_json(
            {
                "project": project.name,
                "description": project.description,
                "readme": project.readme,
                "configs": [config._asdict() for config in configs],
                "groups": groups,
            },
            project.name,
        )
    else:
        context.emit(_page(project, configs, groups), project.name, ".md")
    return 0


def _page(project: ProjectHandle, configs: list[ConfigInfo], groups: dict[str, list[str]]) -> str:
    lines = [f"# {project.name}", ""]
    if project.description:
        lines += [project.description, ""]
    if project.readme and project.readme != project.description:
        lines += [project.readme, ""]
    lines += ["## Configs", "", "| config | what it is |", "|---|---|"]
    for config in configs:
        name = f"**{config.name}** (default)" if config.default else config.name
        lines.append(f"| {name} | {_cell(f'broken: {config.problem}' if config.problem else config.description)} |")
    lines += ["", "## Groups", "", "| group | choices |", "|---|---|"]
    lines += [f"| {group} | {', '.join(choices)} |" for group, choices in groups.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


VERB = Verb(
    name="index",
    summary="print one page about the project: readme, configs, groups",
    help="""\
Print a page in Markdown about the project: the head of its README, its configs with their descriptions, and every
config group with the choices one can make.

  forge index
  forge -p pydoc index -o INDEX.md
""",
    run=_run,
    options=(JSON, OUTPUT, EDIT),
)
