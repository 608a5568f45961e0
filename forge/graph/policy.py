"""Which Python objects a config may name: an allow-list, asked on the name before any import and on the object after it.

A list of what is forbidden is never complete (``logging.os.system`` is ``os.system``); so everything is refused that is
not allowed here. A policy is frozen, and nothing in it can be reached from a config, because ``forge.graph`` itself is
not on the list. The name alone is not enough: ``torch.optim.lr_scheduler.Counter`` is a class of ``collections``. So
each pattern has a home, and the object must have been defined there.
"""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import PolicyError
from forge.base.places import user_settings
from forge.base.spelling import nearest
from forge.graph.allowed import FORGE, GUARDED_ARGUMENTS, LIBRARIES, LOADERS
from forge.graph.node import Call, Const, Expr, Map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forge.base.origin import Origin
    from forge.graph.node import Edge, Node

__all__ = ["Policy", "Rule", "default_policy"]

_LONGEST: Final = 256
_ANY_NAME: Final = "[A-Za-z][A-Za-z0-9_]*"
_WHOLE_SEGMENTS: Final = MappingProxyType(
    {"<Class>": "[A-Z][A-Za-z0-9_]*", "<name>": _ANY_NAME, "**": rf"{_ANY_NAME}(?:\.{_ANY_NAME})*"}
)
_PATTERN: Final = re.compile(r"[A-Za-z_]\w*(?:\.(?:<Class>|<name>|\*\*|[\w*]+))+", re.ASCII)
_DOTTED: Final = re.compile(rf"{_ANY_NAME}(?:\._?{_ANY_NAME})+")
_PLAIN_TYPES: Final = frozenset({bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple, type(None)})


class Rule(NamedTuple):
    """One allowed pattern, and the package in which the objects it names must have been defined."""

    pattern: str
    home: str


@dataclass(frozen=True, slots=True)
class Policy:
    """An allow-list of targets; frozen, and made of tuples, so that nobody can change it once it is made."""

    rules: tuple[Rule, ...]
    _names: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", _compiled(tuple(rule.pattern for rule in self.rules)))

    def allows(self, target: str) -> bool:
        """Whether a name is allowed; nothing is imported."""
        return isinstance(target, str) and len(target) <= _LONGEST and self._names.fullmatch(target) is not None

    def check_name(self, target: str, origin: Origin | None = None, key: str = "") -> None:
        """Raise PolicyError unless the name is allowed; nothing is imported."""
        if not self.allows(target):
            raise self._refused_name(target, origin, key)

    def check_node(self, node: Node) -> None:
        """Raise PolicyError unless a node's own target and arguments are allowed; nothing is imported."""
        if isinstance(node, Call):
            if not self.allows(node.target):
                raise self._refused_name(node.target, node.target_origin or node.origin, node.name)
            _check_edges(node.target, node, node.kwargs)
        elif isinstance(node, Map):
            _check_edges("", node, node.items)

    def check_arguments(
        self, target: str, arguments: Mapping[str, object], origin: Origin | None = None, key: str = ""
    ) -> None:
        """Raise PolicyError when an argument, at any depth, would switch on code that comes with a model."""
        for name, value in _named_values(arguments):
            if isinstance(name, str) and name in GUARDED_ARGUMENTS and not GUARDED_ARGUMENTS[name](value):
                raise _refused_argument(target, name, value, origin, key)

    def check_object(
        self, target: str, obj: object, origin: Origin | None = None, key: str = "", *, owner: object = None
    ) -> None:
        """Raise PolicyError unless the object that the name led to was defined where its pattern says.

        ``owner`` is the module or class that the object was taken from.
        """
        objection = _objection(obj, self.homes(target), owner)
        if objection:
            raise PolicyError(
                f"target {_shown(target)} is refused: {objection}",
                origin=origin,
                key=key,
                hint="name a class or function at the place where it is defined",
            )

    def check_step(self, target: str, obj: object, origin: Origin | None = None, key: str = "") -> None:
        """Raise PolicyError unless an object on the way to the target is a module or class of the target's own package."""
        if not (isinstance(obj, (ModuleType, type)) and _within(_home_of(obj), self.homes(target))):
            raise PolicyError(
                f"target {_shown(target)} is refused: it leads through {_description(obj)}", origin=origin, key=key
            )

    def homes(self, target: str) -> tuple[str, ...]:
        """The packages in which an object of this name may have been defined."""
        return tuple(rule.home for rule in self.rules if _compiled((rule.pattern,)).fullmatch(target))

    def _refused_name(self, target: object, origin: Origin | None, key: str) -> PolicyError:
        settings = user_settings()
        if not isinstance(target, str) or _DOTTED.fullmatch(target) is None:
            hint = "a target is a dotted name of plain letters, such as torch.optim.AdamW"
        elif near := self._nearby(target):
            hint = f"allowed there: {', '.join(near)}; or add the name under 'allow:' in {settings}"
        else:
            hint = f"to allow it for yourself, add the name under 'allow:' in {settings}"
        what = f"target {_shown(target)} is refused: the policy does not allow it"
        return PolicyError(what, origin=origin, key=key, hint=hint)

    def _nearby(self, target: str) -> list[str]:
        """What is allowed beside a refused name, or the name itself with its package spelled right."""
        patterns = [rule.pattern for rule in self.rules]
        roots = {pattern.partition(".")[0] for pattern in patterns}
        root, dot, rest = target.partition(".")
        if root not in roots:
            renamed = [f"{found}{dot}{rest}" for found in nearest(root, roots, limit=1)]
            return [name for name in renamed if self._names.fullmatch(name)]
        parent = target.rpartition(".")[0]
        beside = [pattern for pattern in patterns if pattern.rpartition(".")[0] == parent]
        return nearest(target, beside, limit=2) or [pattern for pattern in beside if _is_wild(pattern)][:2]


def default_policy(source_packages: Sequence[str] = (), extra: Sequence[str] = ()) -> Policy:
    """The policy of forge, opened for a project's own packages and for the patterns of the user's own settings.

    ``source_packages`` are the top-level packages of folders that the user has trusted; ``extra`` are patterns.
    """
    for package in source_packages:
        _check_package(package)
    for pattern in extra:
        _check_pattern(pattern)
    own = tuple(f"{package}.**" for package in source_packages)
    return _policy((*LIBRARIES, *FORGE, *own, *extra))


@functools.lru_cache(maxsize=64)
def _policy(patterns: tuple[str, ...]) -> Policy:
    return Policy(tuple(Rule(pattern, _home(pattern)) for pattern in patterns))


@functools.lru_cache(maxsize=1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns, grouped by their first name so that a refusal is as fast as a match."""
    groups: dict[str, list[str]] = {}
    for pattern in patterns:
        root, _, rest = pattern.partition(".")
        groups.setdefault(root, []).append(r"\.".join(_segment(part) for part in rest.split(".")))
    return re.compile("|".join(rf"{re.escape(root)}\.(?:{'|'.join(rests)})" for root, rests in groups.items()))


def _segment(segment: str) -> str:
    if segment in _WHOLE_SEGMENTS:
        return _WHOLE_SEGMENTS[segment]
    text = "[A-Za-z0-9_]*".join(re.escape(part) for part in segment.split("*"))
    return rf"(?=[A-Za-z]){text}" if "*" in segment else text


def _is_wild(segment: str) -> bool:
    return "*" in segment or "<" in segment


def _home(pattern: str) -> str:
    """Where a pattern's objects must be defined: the names before its first wildcard, else its first name."""
    parts = pattern.split(".")
    return ".".join(parts[: next((index for index, part in enumerate(parts) if _is_wild(part)), 1)])


def _check_package(package: str) -> None:
    """A project's package may not take the name of a module that others rely on."""
    taken = {pattern.partition(".")[0] for pattern in LIBRARIES + FORGE}
    if package in sys.stdlib_module_names or package in taken:
        raise PolicyError(
            f"a project's source package may not be named {package!r}: Python or forge has a module of that name",
            hint="rename the package",
        )
    if re.fullmatch(_ANY_NAME, package) is None:
        raise PolicyError(f"a project's source package may not be named {_shown(package)}", hint="use plain letters")


def _check_pattern(pattern: str) -> None:
    if _PATTERN.fullmatch(pattern) is None:
        raise PolicyError(
            f"{_shown(pattern)} under 'allow:' in {user_settings()} is not a pattern",
            hint="write a dotted name that begins with a package, such as mypackage.models.<Class> or mypackage.**",
        )


def _check_edges(target: str, node: Node, edges: tuple[Edge, ...]) -> None:
    for edge in edges:
        key = edge.key
        if key in GUARDED_ARGUMENTS and isinstance(key, str):
            value = _literal(edge.node)
            if not GUARDED_ARGUMENTS[key](value):
                raise _refused_argument(target, key, value, edge.origin or node.origin, node.name)


def _literal(node: Node) -> object:
    """The plain value that a node stands for; a node that is only known once it is built stands for itself."""
    if isinstance(node, (Const, Expr)):
        return node.value
    if isinstance(node, Map):
        return {edge.key: edge.node.value if isinstance(edge.node, (Const, Expr)) else edge.node for edge in node.items}
    return node


def _named_values(arguments: Mapping[str, object]) -> Iterator[tuple[object, object]]:
    """Every key with its value in nested plain containers, without recursion and each container once."""
    waiting: list[object] = [arguments]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)


def _refused_argument(target: str, name: str, value: object, origin: Origin | None, key: str) -> PolicyError:
    shown = repr(value) if type(value) in _PLAIN_TYPES else f"a {type(value).__name__}"
    what = f"{name}={shown[:80]} is refused"
    return PolicyError(
        f"{what} for {_shown(target)}" if target else what,
        origin=origin,
        key=key,
        hint="it would let a library run code that comes with a model; leave the argument out",
    )


def _objection(obj: object, homes: tuple[str, ...], owner: object) -> str:
    """Why an object may not be used, empty when it may."""
    if isinstance(obj, ModuleType):
        return f"{obj.__name__} is a module"
    if type(obj) in _PLAIN_TYPES:
        return ""
    if isinstance(obj, functools.partial):
        return _objection(obj.func, homes, None)
    if isinstance(obj, functools._lru_cache_wrapper):  # noqa: SLF001 - the type has no public name
        return _objection(obj.__wrapped__, homes, None)
    if isinstance(obj, MethodType):
        return _method_objection(obj, homes)
    if isinstance(obj, FunctionType) and _is_unbound(obj, owner):
        return f"{obj.__qualname__} is a method of an object"
    home = _home_of(obj, owner)
    return "" if _within(home, homes) else f"it is {_description(obj)}, defined in {home or 'an unknown place'}"


def _method_objection(method: MethodType, homes: tuple[str, ...]) -> str:
    """A class method is judged by its class and by where it is written, unless it is one of the known loaders."""
    holder = method.__self__
    known = method.__func__.__name__ in LOADERS
    if _within(_home_of(holder), homes) and (known or _within(method.__func__.__module__, homes)):
        return ""
    return f"it is {_description(method)}, defined in {method.__func__.__module__}"


def _is_unbound(function: FunctionType, owner: object) -> bool:
    """Whether a function is a method that was taken from its class; a static method is a plain function."""
    names = function.__qualname__.split(".")
    if len(names) == 1 or names[-2] == "<locals>":
        return False
    ways = owner.__mro__ if isinstance(owner, type) else ()
    found = next((vars(base)[names[-1]] for base in ways if names[-1] in vars(base)), None)
    return not isinstance(found, staticmethod)


def _home_of(obj: object, owner: object = None) -> str | None:
    """The module in which an object was defined; for a value, the module of its type."""
    if isinstance(obj, ModuleType):
        return obj.__name__
    named: object = obj if isinstance(obj, (type, FunctionType, BuiltinFunctionType)) else type(obj)
    if isinstance(obj, BuiltinFunctionType) and getattr(obj, "__module__", None) is None:
        # A method written in C knows its class at most, and a static one not even that.
        named = obj.__self__ if isinstance(obj.__self__, type) else owner
    home = getattr(named, "__module__", None)
    return home if isinstance(home, str) else None


def _within(home: str | None, homes: tuple[str, ...]) -> bool:
    return home is not None and any(home == allowed or home.startswith(f"{allowed}.") for allowed in homes)


def _description(obj: object) -> str:
    if isinstance(obj, ModuleType):
        return f"the module {obj.__name__}"
    name = getattr(obj, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(obj).__qualname__}"


def _shown(target: object) -> str:
    """A refused name in one short line, whatever it contains."""
    text = ascii(target) if isinstance(target, str) else f"of type {type(target).__name__}"
    return text if len(text) <= 80 else f"{text[:76]}...'"  # noqa: PLR2004 - what fits into a line
