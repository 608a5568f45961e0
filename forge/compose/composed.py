"""The result of a composition: plain data, and for every value the chain of settings that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from forge.compose.arguments import arguments_of
from forge.compose.document import ConfigList, ConfigMap
from forge.compose.reference import NOT_FOUND, follow, lookup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.compose.arguments import Argument
    from forge.compose.document import Setting
    from forge.compose.project import Project

__all__ = ["NOT_OBJECTS", "Composed", "UsedFile"]

NOT_OBJECTS = frozenset({"args", "meta", "hydra"})
"""Top-level keys that describe the config and are no part of its graph."""


class UsedFile(NamedTuple):
    """A config file that took part: its name, its file, where it was put, and which config asked for it."""

    config: str
    file: str
    package: str
    parent: str | None
    layer: str
    choice_of: str | None


@dataclass(frozen=True)
class Composed:
    """A composed config. Its tree is plain data with interpolations as they are written."""

    name: str
    project: Project
    tree: ConfigMap
    files: tuple[UsedFile, ...]
    choices: Mapping[str, str | None]
    overrides: tuple[str, ...] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def meta(self) -> dict[str, Any]:
        """What the config says of itself: name, description, kind, tags, main."""
        meta = self.tree.get("meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def main(self) -> str:
        """The top-level key of the object that a run is about."""
        return str(self.meta.get("main") or "trainer")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The config's own command-line flags."""
        return arguments_of(self.tree)

    def value(self, path: Path) -> Any:
        """The value at a path as it is written, NOT_FOUND when there is none."""
        return lookup(self.tree, path)

    def setting(self, path: Path) -> Setting | None:
        """The newest setting of the value at a path; None when there is no such value."""
        parent = follow(self.tree, path[:-1], lookup(self.tree, path[:-1])) if path else NOT_FOUND
        if isinstance(parent, ConfigMap):
            key = path[-1] if path[-1] in parent else next((k for k in parent if str(k) == str(path[-1])), None)
            return parent.settings.get(key)
        if isinstance(parent, ConfigList):
            index = str(path[-1])
            return parent.settings[int(index)] if index.isdecimal() and int(index) < len(parent) else None
        return None

    def history(self, path: Path) -> list[Setting]:
        """All settings of the value at a path, oldest first."""
        found: list[Setting] = []
        setting = self.setting(path)
        while setting is not None:
            found.append(setting)
            setting = setting.previous
        return found[::-1]

    def origin(self, path: Path) -> Origin | None:
        """Where the value at a path was written, or the nearest value around it."""
        while path:
            setting = self.setting(path)
            if setting is not None:
                return setting.origin
            path = path[:-1]
        return None
