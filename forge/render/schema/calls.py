"""The schema of objects: the keys that say what to make of a mapping, and the parameters of each known target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.graph.lower import SPECIAL_KEYS
from forge.render.schema.values import Fragment, any_of, described, parameter_rule, switch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forge.graph.static.signature import Parameter, Signature
    from forge.render.schema.seen import Seen

__all__ = ["call_name", "call_schema", "is_closed", "keyword_parameters", "mapping_schema", "parameter_rules"]

_TARGET: Final = "The Python class or function to call; the other keys are its arguments."
_SYMBOL: Final = "A Python object taken as it is, not called."
_VALUE: Final[Fragment] = {"$ref": "#/definitions/value"}


def call_name(target: str) -> str:
    """The name of the definition of a target's arguments."""
    return f"call.{target}"


def mapping_schema(seen: Seen, signatures: Mapping[str, Signature]) -> Fragment:
    """Any mapping: its special keys, the arguments of its target if that is known, and the same for what is inside."""
    plain_inside = {"required": ["_recursive_"], "properties": {"_recursive_": {"enum": [False]}}}
    return {
        "properties": _special(seen),
        "not": {"required": ["_target_", "_symbol_"]},
        "allOf": [
            {"if": plain_inside, "else": {"additionalProperties": _VALUE}},
            {"if": {"required": ["_symbol_"]}, "then": {"propertyNames": {"enum": [*SPECIAL_KEYS, "defaults"]}}},
            *(
                {
                    "if": {"required": ["_target_"], "properties": {"_target_": {"const": target}}},
                    "then": {"$ref": f"#/definitions/{call_name(target)}"},
                }
                for target in signatures
            ),
        ],
    }


def _special(seen: Seen) -> dict[str, Fragment]:
    computed: Fragment = {"type": "string", "pattern": r"\$\{"}
    return {
        "_target_": {"description": _TARGET, "anyOf": [{"enum": list(seen.targets)}, {"type": "string"}]},
        "_symbol_": {"description": _SYMBOL, "anyOf": [{"enum": list(seen.symbols)}, {"type": "string"}]},
        "_args_": {"description": "Positional arguments.", "anyOf": [{"type": "array", "items": _VALUE}, computed]},
        "_partial_": switch("Bind the arguments, call later."),
        "_recursive_": switch("When false, what is inside is plain data."),
        "_convert_": {"anyOf": [{"enum": ["none", "partial", "object", "all"]}, computed]},
        "_new_": switch("Each reference to this object gets a copy of its own."),
        "_list_": switch("A list whose items have names."),
    }


def call_schema(signature: Signature) -> Fragment:
    """The arguments of one target; what may still come from other files is never missed."""
    found: Fragment = {
        "description": signature.doc or signature.target,
        "properties": {key: {} for key in (*SPECIAL_KEYS, "defaults")} | parameter_rules([signature]),
    }
    if is_closed(signature):
        found["additionalProperties"] = False
    return found


def parameter_rules(signatures: Sequence[Signature]) -> dict[str, Fragment]:
    """What may stand under each key where any of some targets may be called."""
    by_name: dict[str, list[tuple[str, Parameter]]] = {}
    for signature in signatures:
        for parameter in keyword_parameters(signature):
            by_name.setdefault(parameter.name, []).append((signature.target, parameter))
    # A target that takes any argument may take this one as well, in a way its signature does not show.
    loose = any(not is_closed(signature) and len(signatures) > 1 for signature in signatures)
    return {
        name: described(found) | ({} if loose else any_of(parameter_rule(parameter) for _, parameter in found))
        for name, found in by_name.items()
    }


def keyword_parameters(signature: Signature) -> Iterable[Parameter]:
    """The parameters that can be given by name."""
    return (parameter for parameter in signature.parameters if parameter.kind != "positional_only")


def is_closed(signature: Signature) -> bool:
    """Whether a key that is no parameter is surely wrong."""
    return not signature.var_keyword
