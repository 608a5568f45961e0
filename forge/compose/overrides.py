"""Overrides from the command line, in Hydra's grammar: ``a.b=1``, ``+a.b=1``, ``++a.b=1``, ``~a.b``, ``group=choice``.

Parsing is Hydra's own parser; applying them to plain data follows `OmegaConf.update` in struct mode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigLimitError, ConfigSyntaxError, InterpolationError, OverrideError
from forge.base.origin import Origin
from forge.base.paths import dotted
from forge.base.secrets import MASK, is_secret_name, masked_override
from forge.base.spelling import did_you_mean
from forge.compose.document import MAX_DEPTH, ConfigList, ConfigMap, Setting
from forge.compose.interpolation import Evaluator
from forge.compose.merge import MISSING, check_kinds, copied, merge, put
from forge.compose.quote import quote_value
from forge.compose.reference import NOT_FOUND, follow, is_interpolation, lookup, reference_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from forge.base.paths import Path

__all__ = ["Override", "apply_override", "parse_overrides"]


_MAX_SHOWN: Final = 60  # characters of an override in a message
_PART: Final = r"(?:[A-Za-z_$][\w$-]*|\d+)"
# As Hydra's grammar has it: names joined by slashes for a group, by dots for a key, and the place of a group behind an @.
_KEY: Final = re.compile(rf"{_PART}(?:[/.]{_PART})*(?:@(?:{_PART}(?:\.{_PART})*)?)?", re.ASCII)
_MOST_MEANT: Final = 3  # places that a message offers for a key that is not where it was looked for
_MOST_KEYS: Final = 6
_ABOUT_THE_CONFIG: Final = ("args", "meta")  # what describes a config is not what somebody means to set


@dataclass(frozen=True, slots=True)
class Override:
    """One override: its expression in Hydra's grammar, the text the user typed, and Hydra's parsed form of it.

    A config's own flag is an override too: then ``typed`` is ``--max-steps 10`` and the origin says so.
    """

    expression: str
    typed: str
    origin: Origin
    parsed: Any


def parse_overrides(overrides: Iterable[str | tuple[str, str]]) -> list[Override]:
    """Parse override texts; a pair is (expression, the flag as typed)."""
    # Hydra takes a tenth of a second to import; a cached config never comes here.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    found = []
    for one in overrides:
        expression, typed = (one, one) if isinstance(one, str) else one
        typed = masked_override(typed)
        origin = Origin("", layer="override" if isinstance(one, str) else "flag", text=typed)
        try:
            parsed = parser.parse_override(expression)
        except HydraException as error:
            raise _syntax_error(typed if isinstance(one, str) else expression, origin) from error
        except RecursionError:
            raise _too_deep(origin) from None
        if parsed.is_sweep_override():
            raise OverrideError(
                "several values make a sweep, a config takes one",
                origin=origin,
                hint="write a list as key=[a,b], or quote a text with commas: key='a,b' (with quotes for the shell)",
            )
        found.append(Override(expression, typed, origin, parsed))
    return found


def apply_override(
    root: ConfigMap, override: Override, groups: Sequence[str], variables: dict[str, str | None] | None = None
) -> None:
    """Change ``root`` as the override says; ``groups`` are the config groups a misspelt name may have meant.

    The environment variables that had a say in it are put into ``variables``.
    """
    parsed = override.parsed
    if parsed.package is not None:
        group = parsed.key_or_group
        raise OverrideError(
            f"there is no config group {group!r}", origin=override.origin, hint=did_you_mean(group, groups) or None
        )
    path: Path = tuple(parsed.key_or_group.split("."))
    if len(path) > MAX_DEPTH:
        raise _too_deep(override.origin)
    variables = {} if variables is None else variables
    if parsed.is_delete():
        _delete(root, path, override, variables)
        return
    value = _located(parsed.value(), override.origin)
    adds = parsed.is_add() or parsed.is_force_add()
    if parsed.is_add() and not isinstance(value, (ConfigMap, ConfigList)) and _exists(root, path, variables):
        raise OverrideError(
            f"{parsed.key_or_group!r} has a value already",
            origin=override.origin,
            hint=f"change it with {override.typed[1:]!r}",
        )
    _set(root, path, value, override, adds=adds, groups=groups)


def _exists(root: ConfigMap, path: Path, variables: dict[str, str | None]) -> bool:
    """Whether `OmegaConf.select` would find a value: neither absent, nor null, nor ``???``."""
    value: Any = root
    for depth, key in enumerate(path):
        value = _child(value, key)
        if is_interpolation(value):
            here = path[: depth + 1]
            pure = reference_of(value) is not None
            target = follow(root, here, value) if pure else Evaluator(root, variables).evaluate(value, here)[0]
            if target is NOT_FOUND:
                raise InterpolationError(
                    f"{value} leads nowhere", origin=Origin("", text=dotted(path)), key=dotted(here)
                )
            value = target
    return value is not NOT_FOUND and value is not None and value != MISSING


def _set(root: ConfigMap, path: Path, value: Any, override: Override, *, adds: bool, groups: Sequence[str]) -> None:
    into: Any = root
    for depth, key in enumerate(path[:-1]):
        following = _child(into, key)
        if not isinstance(following, (ConfigMap, ConfigList)):
            if is_interpolation(following) and not adds:
                raise OverrideError(
                    f"{'.'.join(map(str, path[: depth + 1]))!r} is the reference {following}",
                    origin=override.origin,
                    hint="change what it leads to, or replace it as a whole",
                )
            if not adds:
                raise _unknown_key(root, path, depth + (following is not NOT_FOUND), override, groups)
            following = ConfigMap()
            _assign(into, key, following, Setting(override.origin, following), override)
        into = following
    last = path[-1]
    present = _child(into, last)
    if present is NOT_FOUND and not adds and isinstance(into, ConfigMap):
        raise _unknown_key(root, path, len(path) - 1, override, groups)
    if isinstance(present, ConfigMap) and isinstance(value, ConfigMap):
        if not adds:
            _refuse_new_keys(root, path, present, value, override, groups)
        merge(root, present, value, path)
        settings, key = into.settings, _key(into, last)
        settings[key] = Setting(override.origin, present, settings[key])
        return
    if present is not NOT_FOUND:
        check_kinds(present, value, into.settings[_key(into, last)], Setting(override.origin, value), path)
    _assign(into, last, value, Setting(override.origin, value), override)


def _refuse_new_keys(
    root: ConfigMap, path: Path, into: ConfigMap, over: ConfigMap, override: Override, groups: Sequence[str]
) -> None:
    for key, value in over.items():
        if key not in into:
            raise _unknown_key(root, (*path, key), len(path), override, groups)
        if isinstance(value, ConfigMap) and isinstance(into[key], ConfigMap):
            _refuse_new_keys(root, (*path, key), into[key], value, override, groups)


def _child(into: Any, key: Any) -> Any:
    if isinstance(into, ConfigMap):
        return into.get(key, NOT_FOUND)
    if not isinstance(into, list):
        return NOT_FOUND
    try:
        index = int(key)
    except ValueError:
        return NOT_FOUND
    return into[index] if 0 <= index < len(into) else NOT_FOUND


def _key(into: Any, key: Any) -> Any:
    return key if isinstance(into, ConfigMap) else int(key)


def _assign(into: Any, key: Any, value: Any, setting: Setting, override: Override) -> None:
    if isinstance(into, ConfigMap):
        put(into, key, value, setting)
        return
    if _child(into, key) is NOT_FOUND:
        raise OverrideError(
            f"the list has {len(into)} items and no item {key!r}",
            origin=override.origin,
            hint="replace the list as a whole: key=[a,b]",
        )
    index = int(key)
    into[index] = value
    into.settings[index] = Setting(setting.origin, value, into.settings[index])


def _delete(root: ConfigMap, path: Path, override: Override, variables: dict[str, str | None]) -> None:
    key = override.parsed.key_or_group
    value = lookup(root, path)
    shown = follow(root, path, value) if is_interpolation(value) else value
    if not _exists(root, path, variables):
        known = [str(name) for name in _keys(lookup(root, path[:-1]))]
        hint = did_you_mean(str(path[-1]), known)
        raise OverrideError(f"there is no {key!r} to delete", origin=override.origin, hint=hint or None)
    wanted = override.parsed.value()
    if wanted is not None and wanted != shown:
        held = MASK if is_secret_name(path[-1]) else repr(shown)
        raise OverrideError(f"{key!r} is {held}; nothing is deleted", origin=override.origin)
    parent = lookup(root, path[:-1])
    if is_interpolation(parent):
        parent = follow(root, path[:-1], parent)
    if not isinstance(parent, ConfigMap):
        raise OverrideError(
            f"{key!r} is an item of a list and cannot be deleted",
            origin=override.origin,
            hint="replace the list as a whole, or give its items names with _list_: true",
        )
    del parent[path[-1]]
    parent.settings.pop(path[-1], None)


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else []


def _unknown_key(root: ConfigMap, path: Path, depth: int, override: Override, groups: Sequence[str]) -> OverrideError:
    """The error for a key the config does not have, with what it has there."""
    key = str(path[depth])
    known = [str(name) for name in _keys(lookup(root, path[:depth]))]
    if depth == 0:
        known += [group for group in groups if group != key]
    parent = ".".join(map(str, path[:depth]))
    near = did_you_mean(key, known)
    what = (
        f"{parent!r} has no key {key!r}{'' if near else _beside(known)}" if parent else f"the config has no key {key!r}"
    )
    elsewhere, unchosen = _meant_elsewhere(root, path[depth:]), _unchosen_group(root, path[: depth or 1], groups)
    hint = (
        ((unchosen or elsewhere) if depth else (elsewhere or unchosen))
        or near
        or f"to add a key write +{override.typed.lstrip('+')}"
    )
    return OverrideError(what, origin=override.origin, hint=hint)


def _beside(known: Sequence[str]) -> str:
    """``, it has path and format``: what is there, where that is little, helps more than a guess at another place."""
    plain = [name for name in known if not name.startswith("_")]
    return f", it has {', '.join(plain)}" if 0 < len(plain) <= _MOST_KEYS else ""


def _meant_elsewhere(root: ConfigMap, wanted: Path) -> str:
    """``did you mean 'optimizer.lr'?`` for ``lr``: the places, nearest first, whose paths end in what was written."""
    flag = lookup(root, ("args", *wanted, "key"))
    if isinstance(flag, str):
        return f"did you mean {flag!r}?"
    found = [path for path in _ending_in(root, wanted) if path[0] not in _ABOUT_THE_CONFIG]
    shortest = min(map(len, found), default=0)
    nearest = sorted(".".join(map(str, path)) for path in found if len(path) == shortest)
    return f"did you mean {' or '.join(map(repr, nearest))}?" if 0 < len(nearest) <= _MOST_MEANT else ""


def _ending_in(tree: ConfigMap, wanted: Path, at: Path = ()) -> Iterator[Path]:
    """The paths of values, not of references to them, that end in ``wanted``."""
    for key, value in tree.items():
        path = (*at, key)
        if len(path) > len(wanted) and path[-len(wanted) :] == wanted and not is_interpolation(value):
            yield path
        if isinstance(value, ConfigMap):
            yield from _ending_in(value, wanted, path)


def _unchosen_group(root: ConfigMap, place: Path, groups: Sequence[str]) -> str:
    """How to choose a config for a place that is called like a group and has nothing."""
    group, at = str(place[-1]), ".".join(map(str, place))
    if group not in groups or lookup(root, place) not in (None, NOT_FOUND):
        return ""
    default = f"/{group}: CHOICE" if at == group else f"/{group}@{at}: CHOICE"
    return f"nothing is chosen there; a config chooses with - {default} in its defaults"


def _located(value: Any, origin: Origin, depth: int = 0) -> Any:
    """A parsed override value as config data, every part of it with the override as its origin."""
    if depth > MAX_DEPTH:
        raise _too_deep(origin)
    if isinstance(value, dict):
        found = ConfigMap()
        for key, item in value.items():
            # The override grammar gives quoted keys as text already; numbers and booleans stay what they are.
            put(found, key, part := _located(item, origin, depth + 1), Setting(origin, part))
        return found
    if isinstance(value, list):
        items = ConfigList()
        for item in value:
            items.append(part := _located(item, origin, depth + 1))
            items.settings.append(Setting(origin, part))
        return items
    # Hydra wraps quoted texts in a class of its own; a config holds plain text.
    return copied(str(value.text) if type(value).__name__ == "QuotedString" else value)


def _too_deep(origin: Origin) -> ConfigLimitError:
    shown = origin._replace(text=origin.text[:_MAX_SHOWN] + "...")
    return ConfigLimitError(f"the override is nested more than {MAX_DEPTH} levels deep", origin=shown)


def _syntax_error(expression: str, origin: Origin) -> ConfigSyntaxError:
    key, equals, value = expression.partition("=")
    if not equals and not expression.startswith("~"):
        return ConfigSyntaxError(
            "an override sets a value", origin=origin, hint=f"write {key}=VALUE, or ~{key} to delete it"
        )
    name = key.lstrip("+~")
    if name.startswith("/"):
        hint = f"leave out the slash, which is for defaults in a file: {name.lstrip('/')}={value}"
        return ConfigSyntaxError("a group in an override has no slash in front", origin=origin, hint=hint)
    if not _KEY.fullmatch(name):
        hint = (
            "a key is names joined by dots, a group names joined by slashes: trainer.max_steps=10, model/norm=rmsnorm"
        )
        return ConfigSyntaxError(f"{name!r} is no key and no group", origin=origin, hint=hint)
    opened = [char for char in "[{(" if value.count(char) != value.count({"[": "]", "{": "}", "(": ")"}[char])]
    if opened:
        return ConfigSyntaxError(
            f"{opened[0]!r} is not closed", origin=origin, hint="quote the whole override for the shell"
        )
    import shlex  # only after a mistake

    plain = "'" not in value and '"' not in value
    quoted = f"{key}='\"{value}\"'" if plain else shlex.quote(f"{key}={quote_value(value)}")
    return ConfigSyntaxError("the override does not parse", origin=origin, hint=f"quote the value: {quoted}")
