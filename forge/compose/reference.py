"""References, the plain form of interpolation: ``${a.b}``, ``${.sibling}``, ``${..uncle}``, ``${a[0]}``.

Everything that is more than that (text around it, resolvers, nesting) is the matter of `interpolation`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from forge.base.paths import parse_dotted

if TYPE_CHECKING:
    from forge.base.paths import Path

__all__ = ["NOT_FOUND", "absolute", "follow", "is_interpolation", "lookup", "reference_of"]

NOT_FOUND: Final = object()
_PURE = re.compile(r"\$\{\s*(\.*[^\s${}:'\",\\]+|\.+)\s*\}\Z")


def is_interpolation(value: object) -> bool:
    """Whether a config value is a text with at least one interpolation in it."""
    return isinstance(value, str) and "${" in value


def reference_of(value: object) -> str | None:
    """``a.b`` for the text ``${a.b}``; None for every other value."""
    if not (isinstance(value, str) and value.startswith("${")):
        return None
    match = _PURE.match(value)
    return match.group(1) if match else None


def absolute(at: Path, reference: str) -> Path:
    """The path that a reference written at path ``at`` means; leading dots climb as they do in OmegaConf.

    Raises ValueError for a reference that climbs above the root or does not parse.
    """
    name = reference.lstrip(".")
    dots = len(reference) - len(name)
    if dots == 0:
        return parse_dotted(name)
    if dots > len(at):
        raise ValueError(reference)
    return (*at[: len(at) - dots], *parse_dotted(name))


def lookup(root: Any, path: Path) -> Any:
    """The value at a path of the raw tree, NOT_FOUND when there is none; references on the way are followed."""
    value = root
    for depth, key in enumerate(path):
        if is_interpolation(value):
            value = follow(root, path[:depth], value)
        value = _step(value, key)
        if value is NOT_FOUND:
            return NOT_FOUND
    return value


def follow(root: Any, at: Path, value: Any) -> Any:
    """What a chain of pure references written at ``at`` leads to; NOT_FOUND when it leads nowhere or is not pure."""
    passed: set[Path] = set()
    while is_interpolation(value):
        if at in passed:
            return NOT_FOUND
        passed.add(at)
        reference = reference_of(value)
        if reference is None:
            return NOT_FOUND
        try:
            at = absolute(at, reference)
            value = lookup(root, at)
        except (ValueError, RecursionError):
            return NOT_FOUND
    return value


def _step(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if key in value:
            return value[key]
        # A path is text: `1` in it may mean the number that YAML made of a key.
        return next(
            (item for name, item in value.items() if not isinstance(name, str) and str(name) == str(key)), NOT_FOUND
        )
    if isinstance(value, list):
        return value[int(key)] if str(key).isdecimal() and int(key) < len(value) else NOT_FOUND
    return NOT_FOUND
