"""Objects that a plain value replaced: legal, and nearly always a colon or a space that was forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge.base.paths import dotted
from forge.compose.document import ConfigMap
from forge.compose.reference import is_interpolation
from forge.graph.call_check import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.paths import Path
    from forge.compose.composed import Composed
    from forge.compose.document import Setting

__all__ = ["replaced_objects"]


def replaced_objects(composed: Composed) -> Iterator[Finding]:
    """A warning for each text or number that stands where an earlier file or override had described an object."""
    stack: list[tuple[Path, ConfigMap]] = [((), composed.tree)]
    while stack:
        path, mapping = stack.pop()
        for key, value in mapping.items():
            if isinstance(value, ConfigMap):
                stack.append(((*path, key), value))
            elif value is not None and not isinstance(value, list) and not is_interpolation(value):
                earlier = _object_before(mapping.settings[key])
                if earlier is not None:
                    yield _finding((*path, key), value, mapping.settings[key], earlier)


def _object_before(setting: Setting) -> Setting | None:
    while setting.previous is not None:
        setting = setting.previous
        if isinstance(setting.value, dict) and "_target_" in setting.value:
            return setting
    return None


def _finding(path: Path, value: Any, setting: Setting, earlier: Setting) -> Finding:
    message = f"the value {str(value)[:40]!r} replaces the object that {earlier.origin} describes"
    return Finding(setting.origin, dotted(path), message, "is a colon missing?", "warning", "replaced-object")
