"""What Hydra's defaults-list algorithm asks for: which configs and groups there are, and what a config's header says.

The files are read by forge's own reader, so each default keeps the line it stands in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigError, ConfigNotFoundError, ConfigSyntaxError
from forge.compose.document import ConfigList, ConfigMap, Document, parse_document
from forge.compose.environment import read_variable
from forge.compose.reference import is_interpolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.base.errors import ForgeError
    from forge.base.origin import Origin
    from forge.compose.lookups import Lookups
    from forge.compose.project import Root

__all__ = ["Default", "Repository"]

_MAX_ASKED: Final = 1_000
"""Configs that include each other under ever longer packages would keep Hydra's algorithm busy for hours."""


_VARIABLE: Final = re.compile(r"[^$]*\$\{\s*oc\.env\s*:\s*(\w+)\s*(?:,[^${}]*)?\}[^$]*")


@dataclass(frozen=True, slots=True)
class Default:
    """One line of a defaults list: as it is written, where, and the config it means when nothing overrides it."""

    text: str
    config: str | None
    origin: Origin


@dataclass
class _Loaded:
    """A config as Hydra's algorithm looks at it."""

    header: dict[str, str | None]
    defaults_list: list[Any]
    config: None = None


class Repository:
    """Finds and reads configs along the search path; the first root that has a file wins."""

    def __init__(self, roots: Sequence[Root], lookups: Lookups, problems: list[ForgeError] | None = None) -> None:
        self.roots = roots
        self.problems = problems  # with a list, a file that does not parse is put there and counts as empty
        self.lookups = lookups
        self.documents: dict[str, Document | None] = {}
        self.defaults: dict[str, list[Default]] = {}
        self.pretended: set[str] = set()
        self._loaded: dict[str, _Loaded | None] = {}
        self._asked = 0

    def load_config(self, config_path: str) -> _Loaded | None:
        """Hydra's question: the header and defaults list of a config, None when there is no such config."""
        self._asked += 1
        if self._asked > _MAX_ASKED:
            raise RecursionError
        if config_path not in self._loaded:
            document = self.document(config_path)
            if document is None:
                self._loaded[config_path] = _Loaded({"package": None}, []) if config_path in self.pretended else None
            else:
                self._loaded[config_path] = _Loaded(
                    {"package": document.package}, self._elements(config_path, document)
                )
        return self._loaded[config_path]

    def document(self, config_path: str) -> Document | None:
        """The parsed file of a config."""
        if config_path not in self.documents:
            found = self._find(config_path + ".yaml")
            try:
                self.documents[config_path] = parse_document(self.lookups.read(found[0]), *found) if found else None
            except ConfigError as error:
                if self.problems is None:
                    raise
                self.problems.append(error)
                self.documents[config_path] = None
                self.pretend(config_path)
        return self.documents[config_path]

    def pretend(self, config_path: str) -> None:
        """Answer from now on as if this config were there and empty; used to go on after a mistake."""
        self.pretended.add(config_path)
        self._loaded.pop(config_path, None)

    def drop_default(self, text: str) -> bool:
        """Forget every default written like this; used to go on after a mistake."""
        dropped = False
        for config_path, written in self.defaults.items():
            loaded = self._loaded.get(config_path)
            for index in reversed(range(len(written))):
                if written[index].text == text and loaded is not None:
                    del loaded.defaults_list[index], written[index]
                    dropped = True
        return dropped

    def group_exists(self, config_path: str) -> bool:
        """Hydra's question: whether any root has this folder."""
        return any(self.lookups.is_folder(os.path.join(root.folder, config_path)) for root in self.roots)

    def config_exists(self, config_path: str) -> bool:
        """Hydra's question: whether any root has this file."""
        return config_path in self.pretended or self._find(config_path + ".yaml") is not None

    def get_group_options(self, group_name: str, results_filter: Any = None) -> list[str]:
        """Hydra's question: the choices of a group, from all roots."""
        del results_filter
        found: set[str] = set()
        for root in self.roots:
            folder = os.path.join(root.folder, group_name)
            for entry in os.listdir(folder) if os.path.isdir(folder) else ():
                name, suffix = os.path.splitext(entry)
                if suffix == ".yaml" and not name.startswith("_"):
                    found.add(name)
        return sorted(found)

    def group_names(self) -> list[str]:
        """The groups at the top of the search path, for suggestions."""
        found: set[str] = set()
        for root in self.roots:
            if os.path.isdir(root.folder):
                # Unlike an entry's `is_dir`, `isdir` says no to a link that leads round in a circle.
                found.update(name for name in os.listdir(root.folder) if os.path.isdir(os.path.join(root.folder, name)))
        return sorted(found)

    def get_sources(self) -> list[str]:
        """Hydra's question, for its messages: the search path."""
        return [root.folder for root in self.roots]

    def _find(self, name: str) -> tuple[str, Any] | None:
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise ConfigNotFoundError(f"{name!r} leads out of the search path", hint="configs are named from a root")
        for root in self.roots:
            path = os.path.join(root.folder, name)
            if self.lookups.is_file(path):
                return path, root.layer
        return None

    def _elements(self, config_path: str, document: Document) -> list[Any]:
        """A file's defaults list as Hydra's elements."""
        from hydra.core.default_element import ConfigDefault, GroupDefault

        elements = []
        written = []
        for setting in document.defaults.settings if document.defaults is not None else ():
            group, value = self._entry(setting.value, setting.origin)
            if group is None:
                path, package = _split_package(value)
                element: Any = ConfigDefault(path=path, package=package)
                config = None if path == "_self_" else path
            else:
                *keywords, name = group.split(" ")
                name, package = _split_package(name)
                if name.startswith("hydra/"):
                    continue  # it chooses parts of Hydra's own run-time, which forge does not have
                element = GroupDefault(
                    group=name,
                    value=value,
                    package=package,
                    optional="optional" in keywords,
                    override="override" in keywords,
                )
                config = f"{name}/{value}" if isinstance(value, str) else None
            elements.append(element)
            base = os.path.dirname(config_path)
            written.append(
                Default(
                    value if group is None else f"{group}: {value}",
                    config and (config[1:] if config.startswith("/") else f"{base}/{config}" if base else config),
                    setting.origin,
                )
            )
        self.defaults[config_path] = written
        return elements

    def _entry(self, item: Any, origin: Origin) -> tuple[str | None, Any]:
        """A line of a defaults list as (group, choice), or (None, config)."""
        if isinstance(item, str):
            self.check_interpolation(item, origin)
            return None, item
        if isinstance(item, ConfigMap) and len(item) == 1:
            group, value = next(iter(item.items()))
            if isinstance(group, str) and group.split(" ")[-1].partition("@")[0]:
                if isinstance(value, ConfigList) and all(isinstance(one, str) for one in value):
                    return group, list(value)
                if value is None or isinstance(value, str):
                    self.check_interpolation(value, origin)
                    return group, value
        raise ConfigSyntaxError(
            "a default is '- group: choice', '- group: [choice, choice]', '- config' or '- _self_'", origin=origin
        )

    def check_interpolation(self, text: str | None, origin: Origin) -> None:
        """Defaults lists may use other choices and allowed environment variables, no other resolver."""
        if text is None or not is_interpolation(text) or ":" not in text:
            return
        match = _VARIABLE.fullmatch(text)
        if match is None:
            raise ConfigSyntaxError("a default may use other choices and ${oc.env:NAME} only", origin=origin)
        self.lookups.variables[match.group(1)] = read_variable(match.group(1))


def _split_package(text: str) -> tuple[str, str | None]:
    name, at, package = text.partition("@")
    return name, package if at else None
