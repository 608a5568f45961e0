"""Remembered compositions, which are never stale: each is proven against the disk before it is used.

An entry holds every look at the disk that its composition made (see `lookups`): a file that changed, appeared or went
away makes the entry worthless. What forge, Hydra and OmegaConf are is part of its name: another version of them never meets it.
The entry's own digest is checked before it is decoded, so that a damaged cache is recomputed and never believed.
"""

from __future__ import annotations

import functools
import marshal
import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Final

from forge.base import paths
from forge.base.collector import collector_paused
from forge.base.errors import ConfigLimitError, FileError
from forge.base.files import make_private_folder, read_bounded, remove_file, write_atomic
from forge.base.origin import Origin
from forge.base.places import user_cache
from forge.compose.composed import Composed, UsedFile
from forge.compose.composer import compose_fresh
from forge.compose.document import MAX_BYTES, ConfigList, ConfigMap, Setting
from forge.compose.lookups import Lookups, content_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.base.errors import ForgeError
    from forge.compose.project import Project

__all__ = ["compose"]

_MAX_ENTRY: Final = 64 * 1024 * 1024
_DIGEST_LENGTH: Final = 32
_MAX_ENTRIES: Final = 500


@collector_paused()
def compose(
    project: Project,
    name: str,
    overrides: Sequence[str | tuple[str, str]] = (),
    *,
    problems: list[ForgeError] | None = None,
) -> Composed:
    """Compose a config of a project with overrides, from the cache when nothing that took part has changed.

    An override is a text in Hydra's grammar, or a pair of that and the flag the user typed. With ``problems`` given,
    mistakes that leave something to go on with are put there instead of being raised.
    """
    path = _entry_path(project, name, overrides)
    found = _load(path, project)
    if found is not None:
        return found
    lookups = Lookups()
    collected: list[ForgeError] = []
    composed = compose_fresh(
        project, name, overrides, lookups=lookups, problems=None if problems is None else collected
    )
    if problems is not None:
        problems.extend(collected)
    if not collected:
        _store(path, composed, lookups)
    return composed


def _entry_path(project: Project, name: str, overrides: Sequence[str | tuple[str, str]]) -> str:
    key = repr((project, name, tuple(overrides), sys.version_info[:3], _own_digest()))
    return os.path.join(user_cache(), "composed", content_digest(key.encode()))


def _load(path: str, project: Project) -> Composed | None:
    """The composition an entry remembers, None when there is none or when it no longer holds."""
    if not os.path.isfile(path):
        return None
    try:
        data = read_bounded(path, _MAX_ENTRY)
    except (FileError, ConfigLimitError):
        return None
    body = data[_DIGEST_LENGTH:]
    if content_digest(body).encode() != data[:_DIGEST_LENGTH]:
        return None
    record, packed = marshal.loads(body)  # noqa: S302 - the user's own 0700 folder, and the digest was checked
    return _unpack(marshal.loads(packed), project) if Lookups.still_hold(record) else None  # noqa: S302 - as above


def _store(path: str, composed: Composed, lookups: Lookups) -> None:
    """Write an entry; a cache that cannot be written costs time, not correctness."""
    try:
        body = marshal.dumps((lookups.record(), marshal.dumps(_pack(composed))))
        folder = os.path.dirname(path)
        make_private_folder(folder)
        write_atomic(path, content_digest(body).encode() + body, 0o600, durable=False)
        _prune(folder)
    except (FileError, OSError, ValueError):  # marshal refuses what is nested thousands of levels deep
        return


def _prune(folder: str) -> None:
    """Keep the newest entries only."""
    entries = [entry for entry in os.scandir(folder) if entry.is_file()]
    if len(entries) > _MAX_ENTRIES:
        for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime)[: len(entries) - _MAX_ENTRIES]:
            remove_file(entry.path)


@functools.cache
def _own_files() -> tuple[str, ...]:
    """The files whose change may change a composition: forge's composer, Hydra, OmegaConf, PyYAML."""
    here = os.path.dirname(__file__)
    files = [os.path.join(here, name) for name in sorted(os.listdir(here)) if name.endswith(".py")]
    files.append(paths.__file__)
    for package in ("hydra", "omegaconf", "yaml"):
        spec = PathFinder.find_spec(package)
        if spec is not None and spec.origin is not None:
            files += [spec.origin, os.path.join(os.path.dirname(spec.origin), "version.py")]
    return tuple(files)


@functools.cache
def _own_digest() -> str:
    """What forge's composer, Hydra and OmegaConf are: another version of them neither finds nor reads an old entry."""
    contents = []
    for path in _own_files():
        if os.path.isfile(path):
            contents.append(read_bounded(path, MAX_BYTES))
    return content_digest(b"\0".join(contents))


def _pack(composed: Composed) -> dict[str, Any]:
    """A composition as what marshal can write; origins are kept once each and named by number."""
    origins: dict[Origin, int] = {}
    tree = _pack_value(composed.tree, origins)
    return {
        "name": composed.name,
        "tree": tree,
        "origins": [tuple(origin) for origin in origins],
        "files": [tuple(file) for file in composed.files],
        "choices": dict(composed.choices),
        "overrides": composed.overrides,
        "variables": dict(composed.variables),
    }


def _unpack(packed: dict[str, Any], project: Project) -> Composed:
    origins = packed["origins"]
    return Composed(
        name=packed["name"],
        project=project,
        tree=_unpack_value(packed["tree"], origins),
        files=tuple(UsedFile(*file) for file in packed["files"]),
        choices=packed["choices"],
        overrides=packed["overrides"],
        variables=packed["variables"],
    )


def _pack_value(value: Any, origins: dict[Origin, int]) -> Any:
    """A container as (its keys or None, its values, the settings of each); a scalar as it is."""
    if isinstance(value, ConfigMap):
        settings = [_pack_setting(value.settings[key], origins) for key in value]
        return (list(value), [_pack_value(item, origins) for item in value.values()], settings)
    if isinstance(value, ConfigList):
        settings = [_pack_setting(setting, origins) for setting in value.settings]
        return (None, [_pack_value(item, origins) for item in value], settings)
    return value


def _pack_setting(setting: Setting, origins: dict[Origin, int]) -> Any:
    """The newest setting as the number of its origin, its value being the container's; with a past, as a list."""
    number = origins.setdefault(setting.origin, len(origins))
    if setting.previous is None:
        return number
    past = []
    earlier: Setting | None = setting.previous
    while earlier is not None:
        past.append((origins.setdefault(earlier.origin, len(origins)), _plain(earlier.value)))
        earlier = earlier.previous
    return (number, past)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _unpack_value(packed: Any, origins: list[tuple[Any, ...]]) -> Any:
    """The container again; its settings are unpacked when they are asked for, which most verbs never do."""
    keys, values, settings = packed
    items = [_unpack_value(item, origins) if type(item) is tuple else item for item in values]
    if keys is None:
        result = ConfigList(lambda made: [_unpack_setting(*pair, origins) for pair in zip(settings, made, strict=True)])
        result.extend(items)
        return result
    mapping = ConfigMap(
        lambda made: {key: _unpack_setting(one, made[key], origins) for key, one in zip(keys, settings, strict=True)}
    )
    mapping.update(zip(keys, items, strict=True))
    return mapping


def _unpack_setting(packed: Any, value: Any, origins: list[tuple[Any, ...]]) -> Setting:
    if type(packed) is int:
        return Setting(Origin._make(origins[packed]), value)
    number, past = packed
    previous = None
    for origin, earlier in reversed(past):
        previous = Setting(Origin._make(origins[origin]), earlier, previous)
    return Setting(Origin._make(origins[number]), value, previous)
