"""What completion asks, answered from the files: composed only when a question needs it, and silent about mistakes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError
from forge.base.paths import dotted
from forge.base.secrets import is_secret_name
from forge.cli.known import Flag, Value
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.api.config import ConfigHandle
    from forge.api.project import ProjectHandle
    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.cli.registry import Registry
    from forge.compose.document import ConfigMap

__all__ = ["Knowledge"]

_LONGEST: Final = 40
_HEAD: Final = 500
_TYPES: Final = {"bool": "bool", "int": "int", "float": "float", "str": "str", "NoneType": ""}


class Knowledge:
    """The project and config on a line, as far as they can be read.

    ``overrides`` are those on the line, ``pending`` those that a shell puts before the ones of every line.
    """

    def __init__(
        self,
        project: str | None = None,
        config: str | None = None,
        overrides: Sequence[str] = (),
        verbs: Registry = VERBS,
        pending: Sequence[str] = (),
    ) -> None:
        self.verbs = verbs
        self._pending = tuple(pending)
        self._looked_up: dict[tuple[str, ...], Mapping[str, Value]] = {}
        self._where = project
        self._name = config
        self._overrides = tuple(overrides)

    @cached_property
    def _project(self) -> ProjectHandle | None:
        from forge.api.project import open_project  # completing a verb needs no project

        try:
            return open_project(self._where)
        except ForgeError:
            return None

    @cached_property
    def _config(self) -> ConfigHandle | None:
        if self._project is None:
            return None
        every = ((*self._pending, *self._overrides), self._pending, ())
        for overrides in dict.fromkeys(every):  # a line in the making may not compose
            try:
                handle = self._project.config(self._name, *overrides)
                handle.composed  # noqa: B018 - composes
            except ForgeError:
                continue
            return handle
        return None

    def overrides(self) -> Mapping[str, str]:
        """The keys that are pending, each with the override that sets it."""
        return {override.lstrip("+~").partition("=")[0]: override for override in self._pending}

    def jobs(self) -> Mapping[str, str]:
        """The jobs of this user, the newest first, with what each trains and how it is."""
        from forge.control.known import known_jobs

        try:
            return {job.id: f"{job.how}, {job.config}" for job in reversed(known_jobs())}
        except ForgeError:
            return {}

    def sources(self) -> Mapping[str, str]:
        """The files behind the config as `edit` takes them, each with the group it belongs to."""
        if self._config is None:
            return {}
        from forge.cli.behind import files_behind  # only `edit` asks

        return {behind.name: behind.group for behind in files_behind(self._config)}

    def prepare(self) -> None:
        """Look up now what the first questions will need."""
        self.verbs.all  # noqa: B018 - imports their files
        self.groups()
        self.values(())

    def projects(self) -> Mapping[str, str]:
        """Projects below the current folder and those that come with forge."""
        from forge.api.project import all_projects

        try:
            return {project.name: project.description for project in all_projects()}
        except ForgeError:
            return {}

    def configs(self) -> Mapping[str, str]:
        """The project's configs, each with the comment at the top of its file; a description would cost a composition."""
        return self._configs

    @cached_property
    def _configs(self) -> Mapping[str, str]:
        if self._project is None:
            return {}
        return {
            config.name: ", ".join(filter(None, ("default" * config.default, self._comment(f"{config.name}.yaml"))))
            for config in self._project.configs(examine=False)
        }

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
        key = tuple(path)
        if key not in self._looked_up:
            self._looked_up[key] = self._values(key)
        return self._looked_up[key]

    def _values(self, path: tuple[str, ...]) -> Mapping[str, Value]:
        if self._config is None:
            return {}
        from forge.compose.document import ConfigMap
        from forge.compose.reference import lookup

        holder = lookup(self._config.composed.tree, path) if path else self._config.composed.tree
        if not isinstance(holder, ConfigMap):
            return {}
        return _Values(holder, path, self._allowed)

    @cached_property
    def _allowed(self) -> Mapping[str, tuple[str, ...]]:
        """The choices of the config's flags by the key they set."""
        try:
            arguments = self._config.arguments if self._config is not None else ()
        except ForgeError:
            return {}
        return {argument.key: tuple(map(str, argument.choices)) for argument in arguments}

    def targets(self) -> Mapping[str, str]:
        """What the config can build."""
        try:
            return self._targets
        except ForgeError:
            return {}

    @cached_property
    def _targets(self) -> Mapping[str, str]:
        return {target.key: target.target for target in self._config.targets()} if self._config else {}

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


class _Values(Mapping[str, Value]):
    """The keys of one mapping of the config; a value is looked at when it is asked for, since a list shows only a few."""

    def __init__(self, holder: ConfigMap, path: Path, allowed: Mapping[str, tuple[str, ...]]) -> None:
        self._keys = {str(key): key for key in holder}
        self._holder = holder
        self._path = path
        self._allowed = allowed
        self._secret = any(map(is_secret_name, path))

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, name: str) -> Value:
        from forge.render.config import config_data, scalar

        key = self._keys[name]
        held = self._holder[key]
        place = _place(self._holder.settings[key].origin)
        if isinstance(held, (dict, list)):
            return Value("", isinstance(held, dict), type=_kind(held), place=place)
        shown = scalar(config_data(held, secret=self._secret or is_secret_name(name)))[:_LONGEST]
        choices = self._allowed.get(dotted((*self._path, key)), ())
        return Value(shown, choices=choices, type=_kind(held), place=place)


def _kind(held: Any) -> str:
    """What a value is: the last name of what is built from it, the number of its keys or items, or its type."""
    if isinstance(held, dict):
        target = held.get("_target_")
        return target.rpartition(".")[2] if isinstance(target, str) else f"{len(held)} keys"
    if isinstance(held, list):
        return f"{len(held)} items"
    return _TYPES.get(type(held).__name__, "") if not (isinstance(held, str) and held.startswith("${")) else ""


def _place(origin: Origin) -> str:
    """The file and line in short: its folder says which group it belongs to."""
    if not origin.file:
        return origin.layer
    return f"{'/'.join(origin.file.split(os.sep)[-2:])}:{origin.line}"
