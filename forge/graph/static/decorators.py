"""What a decorator does to the function or class below it, as far as its source shows.

Two things are wanted: whether the decorated object can still be called like the one that was written, and which
members of a class it replaces.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from forge.graph.static.classes import Definition, last_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.graph.static.disk import Module
    from forge.graph.static.source import SourceTree

__all__ = ["Effect", "effect_of"]

_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"

# Decorators that are known to leave calls as they are; reading their source would say the same, or cost much.
_HARMLESS: Final = frozenset(
    {"abstractmethod", "asynccontextmanager", "auto_docstring", "cache", "classmethod", "contextmanager", "dataclass",
     "dataclass_transform", "deprecated", "enable_grad", "final", "inference_mode", "lru_cache", "no_grad", "override",
     "runtime_checkable", "staticmethod", "total_ordering", "wraps"}
)  # fmt: skip
_DEEPEST: Final = 4


class Effect(NamedTuple):
    """A decorator that leaves calls as they are, but for the members of a class it ``replaces``."""

    replaces: frozenset[str] = frozenset()

    def __or__(self, other: Effect) -> Effect:
        return Effect(self.replaces | other.replaces)


_NONE: Final = Effect()


def effect_of(source: SourceTree, definition: Definition) -> Effect | None:
    """The joint effect of all decorators of a definition; None when one of them may change how it is called."""
    total = _NONE
    written = [(decorator, definition.module) for decorator in definition.node.decorator_list]
    for decorator, module in [*written, *definition.wrappers]:
        effect = _one(source, decorator, module)
        if effect is None:
            return None
        total |= effect
    return total


def _one(source: SourceTree, decorator: ast.expr, module: Module) -> Effect | None:
    if last_name(decorator) in _HARMLESS:
        return _NONE
    factory = isinstance(decorator, ast.Call)
    found = source.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator, module)
    if not isinstance(found, Definition) or not isinstance(found.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    if not factory:
        return _of_function(source, found.node, found.module, 0)
    inner = _functions(found.node)
    handed = [name for value in _returned(found.node) for name in _names(value) if name in inner]
    return _all(_of_function(source, inner[name], found.module, 1) for name in handed)


def _of_function(source: SourceTree, function: _Function, module: Module, depth: int) -> Effect | None:
    """What a function that takes one object and returns its replacement does to it."""
    parameters = [*function.args.posonlyargs, *function.args.args]
    if not parameters or depth > _DEEPEST:
        return None
    name = parameters[0].arg
    inner = _functions(function)

    def returned(value: ast.expr) -> Effect | None:
        if isinstance(value, ast.Name):
            kept = value.id == name or (value.id in inner and _passes_on(inner[value.id], name))
            return _NONE if kept else None
        if isinstance(value, ast.Call) and any(isinstance(arg, ast.Name) and arg.id == name for arg in value.args[:1]):
            return called(value.func)
        return None

    def called(target: ast.expr) -> Effect | None:
        if isinstance(target, ast.Name) and target.id in inner:
            return _of_function(source, inner[target.id], module, depth + 1)
        found = source.meaning(target, module)
        if isinstance(found, Definition) and isinstance(found.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return _of_function(source, found.node, found.module, depth + 1)
        return None

    replaced = _replaced(function, name)
    # `return wrap`, for use with brackets, hands out what `return wrap(cls)` applies.
    values = _returned(function)
    applied = {value.func.id for value in values if isinstance(value, ast.Call) and isinstance(value.func, ast.Name)}
    effect = _all(returned(value) for value in values if not (isinstance(value, ast.Name) and value.id in applied))
    return effect | Effect(replaced) if effect is not None and replaced is not None else None


def _all(effects: Iterator[Effect | None]) -> Effect | None:
    """All of several possible effects; None when there is none or one cannot be told."""
    total: Effect | None = None
    for effect in effects:
        if effect is None:
            return None
        total = effect if total is None else total | effect
    return total


def _passes_on(wrapper: _Function, wrapped: str) -> bool:
    """Whether a wrapper hands its arguments to the function it wraps as they came."""
    arguments = wrapper.args
    if not arguments.vararg or not arguments.kwarg or arguments.kwonlyargs:
        return False
    if not any(last_name(decorator) == "wraps" for decorator in wrapper.decorator_list):
        return False
    rest = {arguments.vararg.arg, arguments.kwarg.arg}
    own = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    nodes = [node for statement in wrapper.body for node in ast.walk(statement)]
    return not any(_changes(node, rest.union(own)) for node in nodes) and any(
        isinstance(node, ast.Call) and last_name(node.func) == wrapped and _given(node) == [*own, *sorted(rest)]
        for node in nodes
    )


def _given(call: ast.Call) -> list[str]:
    """The names of the variables that a call is given, those with stars last; anything else is an empty name."""
    plain = [arg for arg in call.args if not isinstance(arg, ast.Starred)]
    stars = [arg.value for arg in call.args if isinstance(arg, ast.Starred)]
    stars += [keyword.value for keyword in call.keywords if keyword.arg is None]
    named = ["" for keyword in call.keywords if keyword.arg is not None]
    return [*map(_id, plain), *named, *sorted(map(_id, stars))]


def _id(expression: ast.expr) -> str:
    return expression.id if isinstance(expression, ast.Name) else ""


def _changes(node: ast.AST, names: set[str]) -> bool:
    """Whether a node assigns to one of some names, or calls a method of it, or writes an item."""
    if isinstance(node, ast.Name):
        return node.id in names and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Subscript):
        inside = isinstance(node.value, ast.Name) and node.value.id in names
        return inside and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
        return node.attr in {"pop", "popitem", "setdefault", "update", "clear"}
    return False


def _replaced(function: _Function, name: str) -> frozenset[str] | None:
    """The attributes of the parameter ``name`` that a function sets; None when it sets some whose name is computed."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is(node.value, name):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and last_name(node.func) == "setattr" and node.args and _is(node.args[0], name):
            attribute = node.args[1] if len(node.args) > 1 else None
            if not isinstance(attribute, ast.Constant) or not isinstance(attribute.value, str):
                return None
            found.add(attribute.value)
    return frozenset(found)


def _is(expression: ast.expr, name: str) -> bool:
    return isinstance(expression, ast.Name) and expression.id == name


def _functions(function: _Function) -> dict[str, _Function]:
    """The functions written inside another one, at any depth of its own statements."""
    return {node.name: node for node in _own(function) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def _returned(function: _Function) -> list[ast.expr]:
    """What a function may return, with ``a if x else b`` taken apart."""
    found: list[ast.expr] = []
    stack = [node.value for node in _own(function) if isinstance(node, ast.Return) and node.value is not None][::-1]
    while stack:
        value = stack.pop()
        if isinstance(value, ast.IfExp):
            stack.extend((value.orelse, value.body))
        else:
            found.append(value)
    return found


def _own(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions and classes inside it."""
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _names(expression: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(expression) if isinstance(node, ast.Name)]
