"""Values and keys in Hydra's override grammar, quoted so that its parser gives the same back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.paths import dotted
from forge.base.secrets import MASK, Secret

if TYPE_CHECKING:
    from forge.base.paths import Path

__all__ = ["override_key", "quote_value", "spellable"]

# What Hydra's grammar reads back as the same text without quotes, and what only looks like it.
_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_\-./+@%]*\Z", re.ASCII)
_NUMBER = r"(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:e[+-]?[0-9_]+)?"
_OTHER_TYPE = re.compile(rf"(?:true|false|null|[+-]?(?:inf|nan|{_NUMBER}))\Z", re.IGNORECASE)
_KEY_STEP = re.compile(r"[A-Za-z_$][A-Za-z0-9_$\-]*\Z", re.ASCII)
_DICT_KEY = re.compile(r"(?:[A-Za-z0-9_/\-+.$%*@?|]|[\\()\[\]{}:=, \t])+\Z", re.ASCII)
_ESCAPED = re.compile(r"[\\()\[\]{}:=, \t]")
_BEFORE_QUOTE = re.compile(r"(\\*)('|\Z)")


def override_key(path: Path) -> str:
    """A path as the left side of an override; UsageError for keys the grammar cannot spell."""
    if not path or not all(spellable(key) for key in path):
        raise UsageError(f"Hydra has no override for the key {dotted(path)!r}", hint="Change it in the config file.")
    return ".".join(map(str, path))


def quote_value(value: object) -> str:
    """A value in Hydra's override grammar, quoted where it has to be, so that the parser gives the same value back."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dict_key(key)}:{quote_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(quote_value, value)) + "]"
    if value is None or isinstance(value, (bool, int, float)):
        return _literal(value)
    plain = MASK if isinstance(value, Secret) else str(value)
    return plain if _BARE.match(plain) and not _OTHER_TYPE.match(plain) else _quoted(plain)


def spellable(key: object) -> bool:
    """Whether Hydra can spell this key in an override."""
    return type(key) is int or (isinstance(key, str) and _KEY_STEP.match(key) is not None)


def _literal(value: float | None) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _quoted(plain: str) -> str:
    """In single quotes; Hydra reads backslashes as escapes only where they stand before a quote."""
    return "'" + _BEFORE_QUOTE.sub(lambda run: run[1] * 2 + ("\\'" if run[2] else ""), plain) + "'"


def _dict_key(key: object) -> str:
    if key is None or isinstance(key, (bool, int, float)):
        return _literal(key)
    plain = str(key)
    if not _DICT_KEY.match(plain) or _OTHER_TYPE.match(plain):
        raise UsageError(f"Hydra has no override for the key {plain!r}", hint="Change it in the config file.")
    return _ESCAPED.sub(lambda special: "\\" + special[0], plain)
