"""One call of a config against the signature of its target: what is sure to fail, and what looks like a slip."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from forge.base.paths import dotted
from forge.base.secrets import Secret
from forge.base.spelling import did_you_mean
from forge.graph.node import Call, Const, Expr, Map, Seq
from forge.graph.static.literal_types import Wanted, fits, wanted
from forge.graph.static.misspelt import surely_meant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.origin import Origin
    from forge.graph.node import Edge, Node
    from forge.graph.static.signature import Lookup, Parameter, Signature

__all__ = ["Finding", "Severity", "Targets", "admitted", "call_findings", "target_findings"]

Severity = Literal["error", "warning"]

_LONGEST_VALUE: Final = 60
_MOST_NAMES: Final = 12
_NUMBER: Final = re.compile(r"-?\d[\d_]*(\.\d*)?(e-?\d+)?")
_KINDS: Final = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict", type(None): "None"}


class Finding(NamedTuple):
    """One thing that is wrong or looks wrong in a config, with its place and what to do about it."""

    origin: Origin | None
    key: str
    message: str
    hint: str = ""
    severity: Severity = "error"
    code: str = ""

    def __str__(self) -> str:
        """``configs/optimizer/adamw.yaml:3: optimizer.beta: AdamW has no argument 'beta', did you mean 'betas'?``."""
        place = str(self.origin) if self.origin is not None else ""
        return ": ".join(part for part in (place, self.key, self.text) if part)

    @property
    def text(self) -> str:
        """What is wrong and what to do about it; several ways to do it are a list below."""
        if "\n" in self.hint:
            return "\n  ".join([self.message, *self.hint.splitlines()])
        return f"{self.message}, {self.hint}" if self.hint else self.message


class Targets(Protocol):
    """What is known of other targets; `Signatures` is one."""

    def lookup(self, target: str) -> Lookup:
        """Whether the target is a class or function."""

    def makes_object(self, target: str) -> bool:
        """Whether a call of it surely gives an object that is no plain value."""


class _Value(NamedTuple):
    """What is known of an argument without building it: its kind, its value if it is plain, and how to show it."""

    kind: str
    value: object
    shown: str


def target_findings(call: Call, found: Lookup) -> list[Finding]:
    """What is wrong with a call's target itself."""
    origin = call.target_origin or call.origin
    if found.status == "absent":
        hint = did_you_mean(found.part, found.candidates)
        return [Finding(origin, call.name, f"{found.where} has no {found.part!r}", hint, "error", "no-target")]
    if call.mode == "symbol" and (call.args or call.kwargs):
        edge = (call.args + call.kwargs)[0]
        message = f"{_label(call.target)} is taken as it is, so it takes no arguments"
        hint = "write _target_ instead of _symbol_ to call it"
        return [Finding(edge.origin or origin, _key(call, edge), message, hint, "error", "symbol-arguments")]
    return []


def call_findings(call: Call, signature: Signature, targets: Targets | None = None) -> Iterator[Finding]:
    """What is wrong with the arguments of a call; with ``targets``, objects given as arguments are judged too."""
    named = {parameter.name: parameter for parameter in signature.parameters}
    positional = [parameter for parameter in signature.parameters if parameter.kind != "keyword_only"]
    label = _label(call.target)
    taken = {parameter.name for parameter in positional[: len(call.args)]}
    if len(call.args) > len(positional) and not signature.var_positional:
        yield _too_many(call, label, len(positional))
    for parameter, edge in zip(positional, call.args, strict=False):
        yield from _type_findings(call, edge, parameter, targets)
    for edge in call.kwargs:
        name = str(edge.key)
        known = named.get(name)
        by_name = known is not None and (known.kind != "positional_only")
        if known is not None and by_name and name in taken:
            message = f"{label} gets {name!r} twice: in _args_ and by its name"
            yield Finding(edge.origin, _key(call, edge), message, "remove one of them", "error", "argument-twice")
        elif known is not None and by_name:
            taken.add(name)
            yield from _type_findings(call, edge, known, targets)
        else:
            yield from _unknown_argument(call, edge, signature, named)
    if call.mode == "call":
        yield from _missing_arguments(call, label, signature, taken)


def _too_many(call: Call, label: str, most: int) -> Finding:
    edge = call.args[most]
    takes = f"{most} positional argument{'' if most == 1 else 's'}" if most else "no positional arguments"
    message = f"{label} takes {takes}, {len(call.args)} given"
    return Finding(edge.origin or call.origin, _key(call, edge), message, "", "error", "too-many-arguments")


def _unknown_argument(call: Call, edge: Edge, signature: Signature, named: dict[str, Parameter]) -> Iterator[Finding]:
    name, label = str(edge.key), _label(call.target)
    origin, key = edge.origin or edge.node.origin, _key(call, edge)
    if not signature.var_keyword:
        names = [parameter.name for parameter in named.values() if parameter.kind != "positional_only"]
        hint = did_you_mean(name, names) or _listed(names)
        yield Finding(origin, key, f"{label} has no argument {name!r}", hint, "error", "unknown-argument")
        return
    near = surely_meant(name, named)
    if near is not None:
        message = f"{label} accepts any argument, but {name!r} looks like a slip"
        yield Finding(origin, key, message, f"did you mean {near!r}?", "warning", "near-argument")


def _missing_arguments(call: Call, label: str, signature: Signature, taken: set[str]) -> Iterator[Finding]:
    origin = call.target_origin or call.origin
    for parameter in signature.parameters:
        if parameter.required and parameter.name not in taken:
            message = f"{label} needs the argument {parameter.name!r}"
            wants = f" ({parameter.annotation})" if 0 < len(parameter.annotation) <= _LONGEST_VALUE else ""
            hint = f"add {parameter.name}:{wants}, or write _partial_: true"
            yield Finding(origin, call.name, message, hint, "error", "missing-argument")


def _type_findings(call: Call, edge: Edge, parameter: Parameter, targets: Targets | None) -> Iterator[Finding]:
    wants = admitted(parameter)
    given = _value_of(edge.node, targets) if wants is not None else None
    if wants is None or given is None:
        return
    origin, key, label = edge.origin or edge.node.origin, _key(call, edge), _label(call.target)
    shown = parameter.annotation.strip("'\"")
    if fits(wants, given.kind, given.value):
        if given.kind == "bool" and "bool" not in wants.kinds and given.value not in wants.literals:
            message = f"{parameter.name!r} of {label} is a number ({shown}), and {given.shown} is a yes or no"
            yield Finding(origin, key, message, "", "warning", "bool-for-number")
        return
    if given.kind == "float" and "int" in wants.kinds and isinstance(given.value, float) and given.value.is_integer():
        message = f"{parameter.name!r} of {label} is a whole number, and {given.shown} is not written as one"
        yield Finding(origin, key, message, f"write {int(given.value)}", "warning", "float-for-int")
        return
    texts = [literal for literal in wants.literals if isinstance(literal, str)]
    hint = did_you_mean(given.value, texts) if isinstance(given.value, str) else ""
    message = f"{parameter.name!r} of {label} must be {shown}, not {given.shown}"
    yield Finding(origin, key, message, hint, "error", "wrong-type")


def admitted(parameter: Parameter) -> Wanted | None:
    """What a parameter admits; an annotation that its own default contradicts says nothing."""
    found = wanted(parameter.annotation) if parameter.annotation else None
    if found is None or parameter.default is None:
        return found
    if parameter.default == "None":
        return found | Wanted(frozenset({"None"}))
    default = _written(parameter.default)
    return None if default is not None and not fits(found, default.kind, default.value) else found


def _written(text: str) -> _Value | None:
    """The kind of a default written as Python text."""
    if text in ("True", "False"):
        return _Value("bool", text == "True", text)
    if text[:1] in "'\"" and "\\" not in text:
        return _Value("str", text[1:-1], text)
    if _NUMBER.fullmatch(text):
        number = float(text) if set(text) & set(".e") else int(text)
        return _Value(_KINDS[type(number)], number, text)
    return _Value("list", None, text) if text == "[]" else _Value("dict", None, text) if text == "{}" else None


def _value_of(node: Node, targets: Targets | None) -> _Value | None:
    """What is surely known of an argument; None when that is nothing."""
    if isinstance(node, (Const, Expr)):
        kind = _KINDS.get(type(node.value))
        return None if kind is None or isinstance(node.value, Secret) else _Value(kind, node.value, _shown(node.value))
    if isinstance(node, Seq):
        return _Value("list", None, "a list")
    if isinstance(node, Map):
        return _Value("dict", None, "a mapping")
    return _object(node, targets) if isinstance(node, Call) and targets is not None else None


def _object(call: Call, targets: Targets) -> _Value | None:
    """An object that is surely no plain value: a function or class itself, a partial, or what a call surely gives."""
    label = _label(call.target)
    if call.mode == "call":
        return _Value("object", None, f"what {label} makes") if targets.makes_object(call.target) else None
    if targets.lookup(call.target).status != "found":
        return None
    return _Value("object", None, f"the object {label}" if call.mode == "symbol" else f"a partial call of {label}")


def _shown(value: object) -> str:
    text = repr(value)
    text = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
    return f"the text {text}" if isinstance(value, str) else text


def _listed(names: list[str]) -> str:
    if not names:
        return "it takes none by name"
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"it takes {', '.join(names[:_MOST_NAMES])}{more}"


def _label(target: str) -> str:
    return target.rpartition(".")[2]


def _key(call: Call, edge: Edge) -> str:
    return dotted((*call.path, "_args_", edge.key) if edge in call.args else (*call.path, edge.key))
