"""The files behind a config, in groups: the project's own, those of what it stands on, and the chat templates it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.places import chat_templates
from forge.compose.reference import follow, is_interpolation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.api.config import ConfigHandle
    from forge.base.paths import Path

__all__ = ["OWN", "FileBehind", "files_behind"]

OWN: Final = "project"
_TEMPLATES: Final = "chat templates"
_GROUPS: Final = {"search path": "other projects", "user": "your own library", "library": "library"}
_ORDER: Final = (OWN, *_GROUPS.values(), _TEMPLATES)
_JINJA: Final = ".jinja"


class FileBehind(NamedTuple):
    """A file that had a part in a config: its path, the group it belongs to, and what it is called there."""

    path: str
    group: str
    name: str


def files_behind(config: ConfigHandle) -> list[FileBehind]:
    """Every file that makes the config, by groups, the config's own file first; then the chat templates it names."""
    used = {one.file: one for one in config.composed.files}
    found = []
    for path in config.files:
        if config.project.owns(path):
            found.append(FileBehind(path, OWN, os.path.relpath(path, config.project.folder)))
        else:
            found.append(FileBehind(path, _GROUPS.get(used[path].layer, OWN), f"{used[path].config}.yaml"))
    found += [FileBehind(path, _TEMPLATES, os.path.basename(path)) for path in dict.fromkeys(_templates(config))]
    return sorted(found, key=lambda one: _ORDER.index(one.group))


def _templates(config: ConfigHandle) -> Iterator[str]:
    """The files of chat templates: one of forge's is named without a folder, any other by its path."""
    tree = config.composed.tree
    for path, value in _texts(tree):
        text = follow(tree, path, value) if is_interpolation(value) else value
        if not isinstance(text, str) or not (path[-1] == "chat_template" or text.endswith(_JINJA)):
            continue
        for place in (text, os.path.join(chat_templates(), text + _JINJA)):
            if os.path.isfile(place):
                yield os.path.abspath(place)
                break


def _texts(tree: Any) -> Iterator[tuple[Path, str]]:
    stack: list[tuple[Path, Any]] = [((), tree)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, (dict, list)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            stack += reversed([((*path, key), item) for key, item in items])
        elif isinstance(value, str):
            yield path, value
