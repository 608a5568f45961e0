"""Pending overrides as a person changes them: a later one for the same key takes the place of the earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["override_key_of", "with_changes", "without"]


def override_key_of(override: str) -> str:
    """What an override is about: ``+optimizer.lr=1`` is about ``optimizer.lr``."""
    return override.lstrip("+~").partition("=")[0]


def with_changes(overrides: Sequence[str], changes: Sequence[str]) -> tuple[str, ...]:
    """The overrides after further changes, at most one for a key."""
    found = {override_key_of(override): override for override in overrides}
    for change in changes:
        key = override_key_of(change)
        before = found.get(key)
        if change.startswith("~") and before is not None and before.startswith("+"):
            del found[key]  # what had been added is not there any more
        else:
            found[key] = _sign_of(before, change) + change.lstrip("+") if before is not None else change
    return tuple(found.values())


def _sign_of(before: str, change: str) -> str:
    """A key that was added stays one that is added, whatever its value becomes."""
    signs = change[: len(change) - len(change.lstrip("+"))], before[: len(before) - len(before.lstrip("+"))]
    return "" if change.startswith("~") else max(signs, key=len)


def without(overrides: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    """The overrides without those for some keys; UsageError for a key that has none."""
    known = {override_key_of(override): override for override in overrides}
    for key in keys:
        if override_key_of(key) not in known:
            hint = did_you_mean(key, known) or (f"set are: {', '.join(known)}" if known else "nothing is set")
            raise UsageError(f"{key} is not set", hint=hint)
    gone = set(map(override_key_of, keys))
    return tuple(override for key, override in known.items() if key not in gone)
