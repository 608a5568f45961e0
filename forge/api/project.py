"""A project in Python: its configs, its groups, and what it says about itself."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from forge.api.config import ConfigHandle
from forge.base.errors import ForgeError

if TYPE_CHECKING:
    from forge.compose.project import Project

__all__ = ["ConfigInfo", "ProjectHandle", "all_projects", "open_project"]


class ConfigInfo(NamedTuple):
    """A config as a list of configs shows it; ``problem`` says why it cannot be composed, empty when it can."""

    name: str
    description: str = ""
    default: bool = False
    problem: str = ""


def open_project(folder_or_name: str | os.PathLike[str] | None = None) -> ProjectHandle:
    """The project in or around a folder, or with a name; with nothing given, the one around the current folder."""
    from forge.compose.project import find_project  # `import forge` stays light

    return ProjectHandle(find_project(None if folder_or_name is None else os.fspath(folder_or_name)))


def all_projects(below: str | None = None) -> list[ProjectHandle]:
    """Every project at or below a folder (the current one by default), and those that come with forge."""
    from forge.base.places import shipped_projects
    from forge.compose.project import find_project, projects_below

    found: dict[str, None] = {}
    for start in (below or os.getcwd(), shipped_projects()):
        found |= dict.fromkeys(os.path.realpath(folder) for folder in projects_below(start))
    return [ProjectHandle(find_project(folder)) for folder in found]


class ProjectHandle:
    """A project: its configs, its groups, and what it says about itself."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.name = project.name
        self.description = project.description
        self.folder = project.folder

    def __repr__(self) -> str:
        return f"<forge project {self.name} in {self.folder}>"

    def config(self, name: str | None = None, *overrides: str | tuple[str, str]) -> ConfigHandle:
        """One config, changed by overrides; without a name, the project's default config."""
        return ConfigHandle(self, self.project.config_name(name), overrides)

    def configs(self, *, examine: bool = True) -> list[ConfigInfo]:
        """The project's configs; with ``examine``, each is composed to read its description and to find what is broken."""
        names = [config.name for config in self.project.configs()]
        return [self._info(name) if examine else ConfigInfo(name, default=self._is_default(name)) for name in names]

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        return self.project.groups()

    def groups(self) -> dict[str, list[str]]:
        """Every config group with its choices."""
        return self._groups

    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schemas of the project's files by the name of the file to write each to, ``config.json`` for whole configs."""
        from forge.render.schema import schemas

        return schemas(self.project)

    def schema_files(self) -> dict[str, list[str]]:
        """The patterns of the files that each of these schemas is for."""
        from forge.render.schema import schema_files

        return schema_files(self.project)

    @property
    def readme(self) -> str:
        """The head of the project's README: its text up to the second heading, without the title."""
        path = os.path.join(self.folder, "README.md")
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return _head(file.read(100_000))

    @property
    def source_folders(self) -> tuple[str, ...]:
        """The folders with Python code that the project may import from: its own and those of projects it stands on."""
        return tuple(folder for folder in self.project.source_folders if os.path.isdir(folder))

    def trust(self) -> list[str]:
        """Allow the project's own code to be imported, as it is now; the folders are returned."""
        from forge.base.trust import trust

        own = [folder for folder in self.source_folders if self.owns(folder)]
        for folder in own:
            trust(folder)
        return own

    def distrust(self) -> list[str]:
        """Take that back, and what its configs may be started with; the folders that were trusted are returned."""
        from forge.base.trust import distrust

        own = [folder for folder in self.source_folders if self.owns(folder)]
        return [folder for folder in (*own, self.folder) if distrust(folder)]

    def owns(self, file: str) -> bool:
        """Whether a file lies in the project's own folder."""
        return os.path.abspath(file).startswith(os.path.join(self.folder, ""))

    def _is_default(self, name: str) -> bool:
        return name == self.project.default_config

    def _info(self, name: str) -> ConfigInfo:
        try:
            handle = self.config(name)
            description = str(handle.composed.meta.get("description") or handle.composed.meta.get("name") or "")
            problem = ""
            handle.graph  # noqa: B018 - a config whose references lead nowhere is broken too
        except ForgeError as error:
            description, problem = "", str(error).splitlines()[0]
        return ConfigInfo(name, " ".join(description.split()), self._is_default(name), problem)


def _head(text: str) -> str:
    """The part of a README between its title and its second heading."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith("#"):
            if lines and any(lines):
                break
            continue
        lines.append(line)
    return "\n".join(lines).strip()
