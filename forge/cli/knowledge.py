"""What completion asks, answered from the files: composed only when a question needs it, and silent about mistakes."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from forge.base.errors import ForgeError
from forge.base.paths import dotted
from forge.base.secrets import is_secret_name
from forge.cli.completion import Flag, Value
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.api import ConfigHandle, ProjectHandle
    from forge.cli.registry import Registry

__all__ = ["Knowledge"]

_LONGEST = 40
_HEAD = 500


class Knowledge:
    """The project and config on a line, as far as they can be read."""

    def __init__(
        self,
        project: str | None = None,
        config: str | None = None,
        overrides: Sequence[str] = (),
        verbs: Registry = VERBS,
    ) -> None:
        self.verbs = verbs
        self._where = project
        self._name = config
        self._overrides = tuple(overrides)

    @cached_property
    def _project(self) -> ProjectHandle | None:
        from forge.api import open_project  # completing a verb needs no project

        try:
            return open_project(self._where)
        except ForgeError:
            return None

    @cached_property
    def _config(self) -> ConfigHandle | None:
        if self._project is None:
            return None
        for overrides in dict.fromkeys((self._overrides, ())):  # a line in the making may not compose
            try:
                handle = self._project.config(self._name, *overrides)
                handle.composed  # noqa: B018 - composes
            except ForgeError:
                continue
            return handle
        return None

    def projects(self) -> Mapping[str, str]:
        """Projects below the current folder and those that come with forge."""
        from forge.api import all_projects

        try:
            return {project.name: project.description for project in all_projects()}
        except ForgeError:
            return {}

    def configs(self) -> Mapping[str, str]:
        """The project's configs; their descriptions would cost a composition each."""
        if self._project is None:
            return {}
        return {config.name: "default" if config.default else "" for config in self._project.configs(examine=False)}

    def groups(self) -> Mapping[str, str]:
        """The groups the config chose from, with the choice, then every other group."""
        chosen = {
            group: choice or "" for group, choice in (self._config.composed.choices if self._config else {}).items()
        }
        return chosen | {group: chosen.get(group, "") for group in self._groups}

    @cached_property
    def _groups(self) -> Mapping[str, Sequence[str]]:
        return self._project.groups() if self._project is not None else {}

    def choices(self, group: str) -> Mapping[str, str]:
        """The choices of a group, each with the comment at the top of its file."""
        name = group.partition("@")[0]
        return {choice: self._comment(f"{name}/{choice}.yaml") for choice in self._groups.get(name, ())}

    def _comment(self, name: str) -> str:
        """The first comment of a config file that is not a header for Hydra."""
        if self._project is None:
            return ""
        folders = [root.folder for root in self._project.project.roots]
        path = next((path for folder in folders if os.path.isfile(path := os.path.join(folder, name))), None)
        if path is None:
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_HEAD).splitlines()
        return next((line.lstrip("# ") for line in lines if line.startswith("# ") and "@package" not in line), "")

    def values(self, path: Sequence[str]) -> Mapping[str, Value]:
        """The keys at a path, with their values and what the config's flags say they may be."""
        if self._config is None:
            return {}
        from forge.compose.reference import lookup
        from forge.render.config import config_data, scalar

        holder = lookup(self._config.composed.tree, tuple(path)) if path else self._config.composed.tree
        if not isinstance(holder, dict):
            return {}
        allowed = {argument.key: argument.choices for argument in self._config.arguments}
        found = {}
        for key, value in config_data(holder, secret=any(map(is_secret_name, path))).items():
            text = "" if isinstance(value, (dict, list)) else scalar(value)
            choices = tuple(map(str, allowed.get(dotted((*path, key)), ())))
            found[str(key)] = Value(
                text if len(text) <= _LONGEST else text[:_LONGEST], isinstance(value, dict), choices
            )
        return found

    def targets(self) -> Mapping[str, str]:
        """What the config can build."""
        try:
            return {target.key: target.target for target in self._config.targets()} if self._config else {}
        except ForgeError:
            return {}

    def flags(self) -> Sequence[Flag]:
        """The config's own flags."""
        if self._config is None:
            return ()
        from forge.cli.help import argument_help

        try:
            arguments = self._config.arguments
        except ForgeError:
            return ()
        return [
            Flag(argument.flags, argument_help(argument), tuple(map(str, argument.choices)), argument.type == "bool")
            for argument in arguments
        ]
