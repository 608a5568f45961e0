"""A project: the folder with a ``project.yaml``, what it stands on, and the configs it offers.

name: samantha
description: Teach a model to be Samantha.
default_config: llama3_1b/1gpu_default
search_path: [samantha_data, ./shared]   # other projects by name, folders of config groups by path
source: src                              # the project's own Python packages
groups: [prompt]                         # folders of configs/ that hold choices, beside the library's groups
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import ConfigNotFoundError, ConfigSyntaxError
from forge.base.files import read_bounded
from forge.base.origin import Origin
from forge.base.places import library_configs, shipped_projects, user_configs
from forge.base.spelling import did_you_mean
from forge.compose.document import MAX_BYTES, ConfigMap, parse_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.base.origin import Layer

__all__ = [
    "DEFAULT_PROJECT",
    "PROJECT_FILE",
    "ConfigFile",
    "Project",
    "Root",
    "find_project",
    "projects_below",
    "source_packages",
]

PROJECT_FILE: Final = "project.yaml"
DEFAULT_PROJECT: Final = "pydoc"
_SUFFIX: Final = ".yaml"
_KEYS: Final = {
    "name": str,
    "description": str,
    "default_config": str,
    "search_path": list,
    "source": str,
    "groups": list,
}


class Root(NamedTuple):
    """One folder in which configs and groups are looked up, and what its values' origins call it."""

    folder: str
    layer: Layer


class ConfigFile(NamedTuple):
    """A config that a project offers: the name one gives to ``-t``, and its file."""

    name: str
    file: str


@dataclass(frozen=True)
class Project:
    """A project as its ``project.yaml`` describes it, with every folder it takes configs and code from."""

    name: str
    description: str
    folder: str
    default_config: str | None
    roots: tuple[Root, ...]
    source_folders: tuple[str, ...]
    own_groups: tuple[str, ...] = ()
    project_files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def config_folder(self) -> str:
        """The folder of the project's own configs."""
        return os.path.join(self.folder, "configs")

    @property
    def source_packages(self) -> tuple[str, ...]:
        """The names of the Python packages and modules in the project's source folders."""
        return source_packages(self.source_folders)

    def configs(self) -> list[ConfigFile]:
        """The configs of this project, without the choices of groups and without files that begin with ``_``.

        A file in a folder is a choice of the group of that name, unless its ``# @package _global_`` header says that it
        speaks for the whole config.
        """
        groups = set(self.own_groups)
        for root in self.roots[1:]:
            groups.update(name for name in _entries(root.folder) if os.path.isdir(os.path.join(root.folder, name)))
        found = []
        for name in _config_names(self.config_folder):
            top, slash, _ = name.partition("/")
            file = os.path.join(self.config_folder, name + _SUFFIX)
            is_choice = slash and (top in groups or not _speaks_for_all(file))
            if not is_choice and not any(part.startswith("_") for part in name.split("/")):
                found.append(ConfigFile(name, file))
        return found

    def groups(self) -> dict[str, list[str]]:
        """Every config group and its choices, from all roots; the project's own configs are not among them."""
        own = {config.name for config in self.configs()}
        found: dict[str, set[str]] = {}
        for root in self.roots:
            for name in _config_names(root.folder):
                group, slash, choice = name.rpartition("/")
                if slash and not choice.startswith("_") and not (root.folder == self.config_folder and name in own):
                    found.setdefault(group, set()).add(choice)
        return {group: sorted(choices) for group, choices in sorted(found.items())}

    def files(self) -> dict[str, str]:
        """Every config file along the search path, choices and parts included, by its name; the first root wins."""
        found: dict[str, str] = {}
        for root in self.roots:
            for name in _config_names(root.folder):
                found.setdefault(name, os.path.join(root.folder, name + _SUFFIX))
        return found

    def config_name(self, given: str | None) -> str:
        """The config a user means: ``x.yaml`` is ``x``, nothing is the default; ConfigNotFoundError when there is none."""
        if not given:
            if self.default_config is None:
                raise ConfigNotFoundError(
                    f"project {self.name!r} has no default config", hint="choose one with -t; 'forge ls' lists them"
                )
            return self.default_config
        prefix = self.config_folder + os.sep
        path = os.path.abspath(given)
        name = path.removeprefix(prefix) if path.startswith(prefix) else given.strip("/")
        name = name.removesuffix(_SUFFIX)
        if not os.path.isfile(os.path.join(self.config_folder, name + _SUFFIX)) and not self._in_library(name):
            known = [config.name for config in self.configs()]
            hint = did_you_mean(name, known) or f"it has: {', '.join(known) or 'none'}"
            raise ConfigNotFoundError(f"project {self.name!r} has no config {given!r}", hint=hint)
        return name

    def _in_library(self, name: str) -> bool:
        return any(os.path.isfile(os.path.join(root.folder, name + _SUFFIX)) for root in self.roots[1:])


def source_packages(source_folders: Sequence[str]) -> tuple[str, ...]:
    """The top-level packages and modules in a project's source folders; nothing is imported."""
    found: set[str] = set()
    for folder in source_folders:
        with contextlib.suppress(OSError):
            found.update(_package_name(folder, name) for name in os.listdir(folder))
    return tuple(sorted(found - {""}))


def _package_name(folder: str, entry: str) -> str:
    # Unlike that of an entry of `scandir`, this says no to a link that leads round in a circle.
    name = (
        entry
        if os.path.isdir(os.path.join(folder, entry))
        else entry.removesuffix(".py")
        if entry.endswith(".py")
        else ""
    )
    return name if name.isidentifier() and name.isascii() and not name.startswith("_") else ""


def find_project(start: str | None = None) -> Project:
    """The project of a folder (looked for upward), of a name, or, with neither, of the current folder.

    Where there is no project at all, it is the one that is part of forge, so that every verb has something to show.
    """
    if start is None:
        folder = _upward(os.getcwd())
        return _open(folder if folder is not None else os.path.join(shipped_projects(), DEFAULT_PROJECT))
    folder = _upward(os.path.abspath(start)) if os.path.exists(start) else _by_name(start, os.getcwd())
    if folder is None:
        near = sorted(
            {os.path.basename(found) for found in projects_below(os.getcwd())} | set(_entries(shipped_projects()))
        )
        hint = did_you_mean(os.path.basename(start.rstrip("/")), near) or "a project is a folder with a project.yaml"
        raise ConfigNotFoundError(f"there is no project {start!r}", hint=f"{hint}; 'forge new project' makes one")
    return _open(folder)


def projects_below(folder: str) -> Iterator[str]:
    """The folders of all projects at or below a folder, in order."""
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")) and name != "node_modules")
        if PROJECT_FILE in files:
            folders.clear()
            yield current


def _upward(start: str) -> str | None:
    """The nearest folder at or above ``start`` that holds a project file."""
    folder = start if os.path.isdir(start) else os.path.dirname(start)
    while True:
        if os.path.isfile(os.path.join(folder, PROJECT_FILE)):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _by_name(name: str, beside: str) -> str | None:
    """A project by its name: beside or below the given folder, below its ``projects/``, or part of forge."""
    if os.sep in name or name in ("", ".", ".."):
        return None
    places = (beside, os.path.join(beside, "projects"), os.path.dirname(beside), shipped_projects())
    return next(
        (os.path.join(place, name) for place in places if os.path.isfile(os.path.join(place, name, PROJECT_FILE))), None
    )


def _open(folder: str) -> Project:
    return _Reader().read(folder)


class _Reader:
    """Reads a project and, once each, the projects it stands on."""

    def __init__(self) -> None:
        self.roots: dict[Root, None] = {}
        self.sources: dict[str, None] = {}
        self.groups: dict[str, None] = {}
        self.files: dict[str, None] = {}

    def read(self, folder: str) -> Project:
        settings = self._add(folder, "project")
        self.roots.setdefault(Root(user_configs(), "user"))
        self.roots.setdefault(Root(library_configs(), "library"))
        default = settings.get("default_config")
        return Project(
            name=settings.get("name") or os.path.basename(folder),
            description=settings.get("description") or "",
            folder=folder,
            default_config=default.removesuffix(_SUFFIX) if default else None,
            roots=tuple(self.roots),
            source_folders=tuple(self.sources),
            own_groups=tuple(self.groups),
            project_files=tuple(self.files),
        )

    def _add(self, folder: str, layer: Layer) -> ConfigMap:
        """Take a project's own folders in, then those of what it stands on."""
        file = os.path.join(folder, PROJECT_FILE)
        self.files.setdefault(file)
        settings = _read_settings(file)
        self.roots.setdefault(Root(os.path.join(folder, "configs"), layer))
        self.sources.setdefault(os.path.join(folder, settings.get("source") or "src"))
        for group in settings.get("groups") or ():
            self.groups.setdefault(group)
        for entry in settings.get("search_path") or ():
            self._add_entry(folder, str(entry), settings.settings["search_path"].origin)
        return settings

    def _add_entry(self, folder: str, entry: str, origin: Origin) -> None:
        if "/" in entry or entry.startswith("."):
            path = os.path.normpath(os.path.join(folder, os.path.expanduser(entry)))
            if not os.path.isdir(path):
                raise ConfigNotFoundError(f"the folder {entry!r} is not there", origin=origin, key="search_path")
            self.roots.setdefault(Root(path, "search path"))
            return
        found = _by_name(entry, os.path.dirname(folder))
        if found is None:
            raise ConfigNotFoundError(
                f"there is no project {entry!r}", origin=origin, key="search_path", hint="write a folder as ./folder"
            )
        if os.path.join(found, PROJECT_FILE) not in self.files:
            self._add(found, "search path")


def _read_settings(file: str) -> ConfigMap:
    """The content of a project file, every key known and of the right type."""
    _, _, defaults, tree = parse_document(read_bounded(file, MAX_BYTES), file, "project")
    if defaults is not None:
        raise ConfigSyntaxError("a project has no 'defaults', a config has", origin=Origin(file))
    if not isinstance(tree, ConfigMap):
        raise ConfigSyntaxError("a project file holds 'key: value' lines", origin=Origin(file, 1))
    for key, value in tree.items():
        origin = tree.settings[key].origin
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS) or f"known: {', '.join(_KEYS)}"
            raise ConfigSyntaxError(f"a project has no {key!r}", origin=origin, hint=hint)
        if isinstance(value, list) and not all(isinstance(one, str) for one in value):
            raise ConfigSyntaxError(f"{key!r} must be a list of names", origin=origin)
        if value is not None and not isinstance(value, _expected := _KEYS[key]):
            raise ConfigSyntaxError(f"{key!r} must be a {_expected.__name__}", origin=origin)
    return tree


def _speaks_for_all(file: str) -> bool:
    """Whether the file begins with ``# @package _global_``."""
    with open(file, "rb") as opened:
        first = opened.readline(200)
    return first.split()[-2:] == [b"@package", b"_global_"]


def _entries(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _config_names(folder: str) -> Iterator[str]:
    """The names, without suffix, of all config files below a folder, in order."""
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(current, folder)
        for file in sorted(files):
            if file.endswith(_SUFFIX) and not file.startswith(".") and os.path.isfile(os.path.join(current, file)):
                name = file.removesuffix(_SUFFIX)
                yield name if below == "." else f"{below}/{name}".replace(os.sep, "/")
