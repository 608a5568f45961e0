"""A config's own command-line flags, declared under its ``args:`` key.

args:
  max_steps: {key: trainer.max_steps, type: int, min: 1, help: Stop after this many optimizer steps.}
  model:     {key: model.path, aliases: [-M], help: A model folder.}
  optimizer: {key: optimizer, help: A choice of the group.}      # the key of a group makes it a choice
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigSyntaxError, UsageError
from forge.base.paths import parse_dotted
from forge.base.spelling import did_you_mean
from forge.compose.document import ConfigMap
from forge.compose.quote import quote_value

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from forge.base.origin import Origin

__all__ = ["Argument", "arguments_of", "flag_override"]

_TYPES: Final = {"int": int, "float": float, "str": str, "path": str, "bool": bool}
_NAMED: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "path": "a path",
    "bool": "true or false",
}
_FIELDS: Final = ("key", "aliases", "type", "choices", "min", "max", "default", "help")
_HOLDS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "aliases": (
        "a list of names that begin with '-'",
        lambda held: isinstance(held, list) and all(isinstance(one, str) and one[:1] == "-" for one in held),
    ),
    "choices": ("a list", lambda held: isinstance(held, list)),
    "min": ("a number", lambda held: isinstance(held, (int, float)) and not isinstance(held, bool)),
    "max": ("a number", lambda held: isinstance(held, (int, float)) and not isinstance(held, bool)),
}
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Argument:
    """One flag of a config: its names, what it takes, and the key it sets."""

    name: str
    key: str
    aliases: tuple[str, ...] = ()
    type: str = "str"
    choices: tuple[Any, ...] = ()
    min: float | None = None
    max: float | None = None
    default: Any = None
    help: str = ""
    origin: Origin | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """All its spellings: ``--max-steps`` and the aliases."""
        return ("--" + self.name.replace("_", "-"), *self.aliases)

    def problem(self, value: object) -> str | None:
        """Why a value of the config breaks this flag's rules, None when it does not; null and ``???`` are left alone."""
        if value is None or value == "???":
            return None
        if isinstance(value, bool) != (self.type == "bool") or not isinstance(value, _accepted(self.type)):
            return f"{value!r} is not {_NAMED[self.type]}"
        if self.type == "path" and not value:
            return "an empty text is not a path"
        if self.choices and value not in self.choices:
            return f"{value!r} is not one of {', '.join(map(str, self.choices))}"
        if isinstance(value, (int, float)):
            if self.min is not None and not value >= self.min:
                return f"{value!r} is below {self.min}"
            if self.max is not None and not value <= self.max:
                return f"{value!r} is above {self.max}"
        return None


def arguments_of(tree: ConfigMap) -> tuple[Argument, ...]:
    """The flags a composed config declares, in its order; ConfigSyntaxError for a declaration that makes no sense."""
    declared = tree.get("args")
    if declared is None:
        return ()
    if not isinstance(declared, ConfigMap):
        raise ConfigSyntaxError("'args' maps flag names to what they set", origin=tree.settings["args"].origin)
    return tuple(
        _argument(str(name), declared[name], declared.settings[name].origin)
        for name in declared
        if declared[name] is not None
    )


def flag_override(argument: Argument, flag: str, text: str, groups: Container[str] = ()) -> tuple[str, str]:
    """The override that a flag stands for, and the flag as typed; UsageError when the text does not fit its type."""
    if not text:  # as of a variable of the shell that is not set
        raise UsageError(f"{flag} needs {_NAMED[argument.type]}, not an empty text", hint=argument.help or None)
    value = _convert(argument, flag, text)
    problem = argument.problem(value)
    if problem:
        hint = did_you_mean(text, map(str, argument.choices)) or argument.help
        raise UsageError(f"{flag}: {problem}", hint=hint or None)
    typed = f"{flag} {text}"
    if argument.key in groups:
        return f"{argument.key}={text}", typed
    return f"++{argument.key}={quote_value(value)}", typed


def _argument(name: str, declared: Any, origin: Origin) -> Argument:
    key = f"args.{name}"
    if not isinstance(declared, ConfigMap):
        raise ConfigSyntaxError("a flag is declared as {key: ..., type: ..., help: ...}", origin=origin, key=key)
    for field in declared:
        if field not in _FIELDS:
            hint = did_you_mean(str(field), _FIELDS) or f"known: {', '.join(_FIELDS)}"
            raise ConfigSyntaxError(
                f"a flag has no {field!r}", origin=declared.settings[field].origin, key=key, hint=hint
            )
        holds = _HOLDS.get(field)
        if holds is not None and declared[field] is not None and not holds[1](declared[field]):
            raise ConfigSyntaxError(f"{field!r} must be {holds[0]}", origin=declared.settings[field].origin, key=key)
    kind = declared.get("type") or "str"
    if not isinstance(kind, str) or kind not in _TYPES:
        hint = did_you_mean(str(kind), _TYPES) or f"known: {', '.join(_TYPES)}"
        raise ConfigSyntaxError(
            f"there is no flag type {kind!r}", origin=declared.settings["type"].origin, key=key, hint=hint
        )
    if not isinstance(declared.get("key"), str):
        raise ConfigSyntaxError("a flag needs the 'key' it sets", origin=origin, key=key)
    try:
        parse_dotted(declared["key"])
    except ValueError:
        raise ConfigSyntaxError(
            f"{declared['key']!r} is not a dotted path",
            origin=declared.settings["key"].origin,
            key=key,
            hint="write it like trainer.max_steps",
        ) from None
    return Argument(
        name=name,
        key=declared["key"],
        aliases=tuple(declared.get("aliases") or ()),
        type=kind,
        choices=tuple(declared.get("choices") or ()),
        min=declared.get("min"),
        max=declared.get("max"),
        default=declared.get("default"),
        help=str(declared.get("help") or ""),
        origin=origin,
    )


def _accepted(kind: str) -> tuple[type, ...]:
    return (int, float) if kind == "float" else (_TYPES[kind],)


def _convert(argument: Argument, flag: str, text: str) -> Any:
    if argument.type == "bool":
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise UsageError(f"{flag}: {text!r} is neither true nor false")
    if text.lower() in ("null", "none") and not argument.choices:
        return None
    if argument.type == "path":
        return os.path.expanduser(text)  # a shell leaves ~ alone behind the = of --flag=~/folder
    try:
        return _TYPES[argument.type](text)
    except ValueError as error:
        raise UsageError(f"{flag}: {text!r} is not {_NAMED[argument.type]}", hint=argument.help or None) from error
