"""What a schema can say of one value: from the annotation of a parameter, or from a flag of the config.

Wherever a value may stand, a text with ``${...}``, ``???`` and a mapping may stand too: what they come to is decided by
other files, so a schema says nothing of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.graph.call_check import admitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from forge.compose.arguments import Argument
    from forge.graph.static.literal_types import Wanted
    from forge.graph.static.signature import Parameter

__all__ = ["COMPUTED", "SHARED", "Fragment", "any_of", "described", "flag_rule", "parameter_rule", "switch"]

Fragment = dict[str, Any]

COMPUTED: Final[Fragment] = {"$ref": "#/definitions/computed"}
_YES_OR_NO: Final[Fragment] = {"$ref": "#/definitions/yes-or-no"}
_NUMBER: Final[Fragment] = {"$ref": "#/definitions/number-text"}
SHARED: Final[dict[str, Fragment]] = {
    "computed": {
        "description": "A reference or a text with one, a value that is still open, or an object.",
        "anyOf": [{"type": "string", "pattern": r"\$\{"}, {"enum": ["???"]}, {"type": "object"}],
    },
    # Forge reads YAML 1.1, most editors YAML 1.2: what only the former takes for a boolean or a number is a text to them.
    "yes-or-no": {"type": "string", "pattern": "^(?:[yY]es|YES|[nN]o|NO|[oO]n|ON|[oO]ff|OFF)$"},
    "number-text": {"type": "string", "pattern": "^[-+]?(?:0b[01_]+|[0-9][0-9_]*[_:][0-9_:.]*)$"},
}
"""Definitions that every schema of a config has."""

_TYPES: Final = {
    "int": ("integer", "boolean"),  # Python takes a yes for a one
    "float": ("number", "boolean"),
    "bool": ("boolean",),
    "str": ("string",),
    "None": ("null",),
    "list": ("array",),
    "dict": (),  # a mapping is always allowed
}
_FLAG_TYPES: Final = {"int": "integer", "float": "number", "str": "string", "path": "string", "bool": "boolean"}


def parameter_rule(parameter: Parameter) -> Fragment:
    """What is surely wrong for a parameter is refused; empty when nothing is sure."""
    wants = admitted(parameter)
    return _wanted_rule(wants) if wants is not None else {}


def _wanted_rule(wants: Wanted) -> Fragment:
    if not set(_TYPES) >= wants.kinds:
        return {}
    types = list(dict.fromkeys(name for kind in sorted(wants.kinds) for name in _TYPES[kind]))
    found: list[Fragment] = []
    if types:
        found.append({"type": types if len(types) > 1 else types[0]})
    if wants.literals:
        found.append({"enum": list(dict.fromkeys(wants.literals))})
    if "bool" in wants.kinds:
        found += [{"enum": [0, 1]}, _YES_OR_NO]
    if wants.kinds & {"int", "float"}:
        found.append(_NUMBER)
    return {"anyOf": [*found, COMPUTED]}


def flag_rule(argument: Argument) -> Fragment:
    """The rule that a flag makes for the value it sets, as `Argument.problem` holds it; null is left alone."""
    rule: Fragment = {"type": _FLAG_TYPES[argument.type]}
    if argument.choices:
        rule["enum"] = list(argument.choices)
    if argument.min is not None:
        rule["minimum"] = argument.min
    if argument.max is not None:
        rule["maximum"] = argument.max
    also = {"bool": _YES_OR_NO, "int": _NUMBER, "float": _NUMBER}.get(argument.type)
    return {"anyOf": [rule, {"type": "null"}, *([also] if also else []), COMPUTED]}


def switch(description: str) -> Fragment:
    """A value that is true or false."""
    return {
        "description": description,
        "anyOf": [{"type": "boolean"}, _YES_OR_NO, {"type": "string", "pattern": r"\$\{"}],
    }


def any_of(rules: Iterable[Fragment]) -> Fragment:
    """One of several rules; nothing when one of them says nothing."""
    found: list[Fragment] = []
    for rule in rules:
        if not rule:
            return {}
        if rule not in found:
            found.append(rule)
    return found[0] if len(found) == 1 else {"anyOf": found} if found else {}


def described(parameters: Sequence[tuple[str, Parameter]]) -> Fragment:
    """What an editor shows of a parameter of one or several targets: its type and default, and whose it is."""
    texts: dict[str, list[str]] = {}
    for target, parameter in parameters:
        wants = f": {parameter.annotation}" if parameter.annotation else ""
        default = f" = {parameter.default}" if parameter.default is not None else ""
        owners = texts.setdefault(f"{parameter.name}{wants}{default}", [])
        owners.append(target.rpartition(".")[2])
    return {"description": "\n".join(f"{text}  ({', '.join(dict.fromkeys(names))})" for text, names in texts.items())}
