"""Laying one config over another, with OmegaConf's rules, on plain data that keeps every setting.

Mappings merge, everything else replaces; ``???`` replaces nothing; a mapping laid over a reference to a mapping lays
itself over a copy of what the reference points to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigLimitError, OverrideError
from forge.base.paths import dotted
from forge.compose.document import MAX_DEPTH, ConfigList, ConfigMap, Setting
from forge.compose.reference import follow, is_interpolation

if TYPE_CHECKING:
    from forge.base.paths import Key, Path

__all__ = ["MISSING", "check_kinds", "copied", "embed", "merge", "put"]

MISSING: Final = "???"


def copied(value: Any) -> Any:
    """A copy whose mappings and lists may be changed; scalars and settings are shared."""
    if isinstance(value, ConfigMap):
        copy = ConfigMap()
        copy.settings.update(value.settings)
        for key, item in value.items():
            copy[key] = copied(item) if isinstance(item, (ConfigMap, ConfigList)) else item
        return copy
    if isinstance(value, ConfigList):
        items = ConfigList()
        items.settings.extend(value.settings)
        items.extend(copied(item) if isinstance(item, (ConfigMap, ConfigList)) else item for item in value)
        return items
    return value


def put(into: ConfigMap, key: Key, value: Any, setting: Setting) -> None:
    """Set a key; the setting that was there before becomes the new one's past."""
    past = into.settings.get(key)
    into[key] = value
    into.settings[key] = setting if past is None else Setting(setting.origin, setting.value, past)


def merge(root: ConfigMap, into: ConfigMap, over: ConfigMap, path: Path = ()) -> None:
    """Lay ``over`` on ``into``, which stands at ``path`` below ``root``; ``over`` itself is not changed."""
    for key, value in over.items():
        setting = over.settings[key]
        if key not in into:
            put(into, key, copied(value), setting)
            continue
        present = into[key]
        if is_interpolation(present):
            target = follow(root, (*path, key), present)
            if isinstance(target, (ConfigMap, ConfigList)):
                present = into[key] = copied(target)
        if isinstance(value, str) and value == MISSING:
            continue
        if isinstance(value, ConfigMap) and isinstance(present, ConfigMap):
            merge(root, present, value, (*path, key))
            into.settings[key] = Setting(setting.origin, present, into.settings.get(key))
        else:
            check_kinds(present, value, into.settings[key], setting, (*path, key))
            put(into, key, copied(value), setting)


def check_kinds(present: Any, value: Any, past: Setting, setting: Setting, path: Path) -> None:
    """Refuse to lay a mapping over a list or a list over a mapping, as OmegaConf does."""
    if isinstance(present, (ConfigMap, ConfigList)) and isinstance(value, (ConfigMap, ConfigList)):
        if type(present) is type(value):
            return
        kinds = {ConfigMap: "a mapping", ConfigList: "a list"}
        raise OverrideError(
            f"this is {kinds[type(value)]}, but {past.origin} made it {kinds[type(present)]}",
            origin=setting.origin,
            key=dotted(path),
        )


def embed(tree: ConfigMap | ConfigList, package: str, setting: Setting) -> ConfigMap | ConfigList:
    """The tree below the keys of its package: ``a.b`` puts it at ``{a: {b: tree}}``."""
    if package.count(".") >= MAX_DEPTH:
        raise ConfigLimitError(f"the package has more than {MAX_DEPTH} levels", origin=setting.origin)
    result: ConfigMap | ConfigList = tree
    for name in reversed(package.split(".")):
        outer = ConfigMap()
        outer[name] = result
        outer.settings[name] = Setting(setting.origin, result)
        result = outer
    return result
