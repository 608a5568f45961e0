"""What the statements of a Python source file bind at its top level, read from its syntax tree.

A name may be bound more than once. A binding is *sure* when the statement that makes it always runs; a later sure
binding replaces the earlier ones. A *fallback* is a binding that counts only when nothing else defines the name:
inside ``except ImportError`` and inside ``if TYPE_CHECKING``, where packages with lazy imports declare their names.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Assigned", "Binding", "Bindings", "Defined", "Imported", "ImportedFrom", "Meaning", "Star", "bindings_of"]


class Defined(NamedTuple):
    """A class or function statement."""

    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Imported(NamedTuple):
    """``import a.b as name``: the module ``a.b``."""

    module: str


class ImportedFrom(NamedTuple):
    """``from module import name``, with a relative module already made absolute."""

    module: str
    name: str


class Assigned(NamedTuple):
    """``name = expression``; ``before`` is what the name meant until then, for ``X = wrapped(X)``."""

    expression: ast.expr | None
    before: tuple[Binding, ...] = ()


Meaning: TypeAlias = "Defined | Imported | ImportedFrom | Assigned"


class Binding(NamedTuple):
    """One meaning of a name; ``fallback`` when it counts only if nothing else defines the name."""

    meaning: Meaning
    fallback: bool = False


class Star(NamedTuple):
    """``from module import *``."""

    module: str
    fallback: bool = False


class Bindings(NamedTuple):
    """The names of one source file, or of one class body, and its star imports in order."""

    names: dict[str, tuple[Binding, ...]]
    stars: tuple[Star, ...]


def bindings_of(body: Sequence[ast.stmt], package: str) -> Bindings:
    """The bindings of a module's or a class's body; ``package`` is where its relative imports start."""
    collector = _Collector(package)
    collector.block(body)
    return Bindings({name: tuple(found) for name, found in collector.names.items()}, tuple(collector.stars))


class _Collector:
    def __init__(self, package: str) -> None:
        self.package = package
        self.names: dict[str, list[Binding]] = {}
        self.stars: list[Star] = []

    def block(self, body: Iterable[ast.stmt], *, sure: bool = True, fallback: bool = False) -> None:
        for statement in body:
            self._statement(statement, sure=sure, fallback=fallback)

    def _statement(self, statement: ast.stmt, *, sure: bool, fallback: bool) -> None:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            # An overload alone says that the name is there, not how it is called.
            meaning: Meaning = Assigned(None) if _is_overload(statement) else Defined(statement)
            self._bind(statement.name, meaning, sure=sure, fallback=fallback)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            self._import(statement, sure=sure, fallback=fallback)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            self._assign(statement, sure=sure, fallback=fallback)
        elif isinstance(statement, ast.If):
            self._branch(statement, sure=sure, fallback=fallback)
        else:
            self._compound(statement, sure=sure, fallback=fallback)

    def _compound(self, statement: ast.stmt, *, sure: bool, fallback: bool) -> None:
        if isinstance(statement, ast.Try):
            self.block(statement.body, sure=sure, fallback=fallback)
            for handler in statement.handlers:
                self.block(handler.body, sure=False, fallback=True)
            self.block([*statement.orelse, *statement.finalbody], sure=sure, fallback=fallback)
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            self.block(statement.body, sure=sure, fallback=fallback)
        elif isinstance(statement, (ast.For, ast.While)):
            for target in _names_in(getattr(statement, "target", None)):
                self._bind(target, Assigned(None), sure=False, fallback=fallback)
            self.block([*statement.body, *statement.orelse], sure=False, fallback=fallback)

    def _bind(self, name: str, meaning: Meaning, *, sure: bool, fallback: bool) -> None:
        binding = Binding(meaning, fallback)
        if sure and not fallback:
            self.names[name] = [binding]
        else:
            self.names.setdefault(name, []).append(binding)

    def _import(self, statement: ast.Import | ast.ImportFrom, *, sure: bool, fallback: bool) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                # `import a.b` binds `a`; `import a.b as c` binds `a.b` to c.
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                self._bind(alias.asname or module, Imported(module), sure=sure, fallback=fallback)
            return
        module = self._absolute(statement)
        for alias in statement.names:
            if alias.name == "*":
                self.stars.append(Star(module, fallback))
            else:
                self._bind(alias.asname or alias.name, ImportedFrom(module, alias.name), sure=sure, fallback=fallback)

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parts = self.package.split(".")
        base = ".".join(parts[: len(parts) - statement.level + 1])
        return f"{base}.{statement.module}" if statement.module else base

    def _assign(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign, *, sure: bool, fallback: bool) -> None:
        if isinstance(statement, ast.AnnAssign) and statement.value is None:
            return  # `name: type` declares and binds nothing
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            plain = isinstance(target, ast.Name) and not isinstance(statement, ast.AugAssign)
            for name in _names_in(target):
                value = Assigned(statement.value if plain else None, tuple(self.names.get(name, ())))
                self._bind(name, value, sure=sure, fallback=fallback)

    def _branch(self, statement: ast.If, *, sure: bool, fallback: bool) -> None:
        verdict = _truth(statement.test)
        if verdict == "types":
            self.block(statement.body, sure=False, fallback=True)
            self.block(statement.orelse, sure=sure, fallback=fallback)
        elif isinstance(verdict, bool):
            self.block(statement.body if verdict else statement.orelse, sure=sure, fallback=fallback)
        else:
            self.block([*statement.body, *statement.orelse], sure=False, fallback=fallback)


def _names_in(target: ast.expr | None) -> list[str]:
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, (ast.Tuple, ast.List)):
        return [name for element in target.elts for name in _names_in(element)]
    return _names_in(target.value) if isinstance(target, ast.Starred) else []


def _is_overload(statement: ast.stmt) -> bool:
    decorators = getattr(statement, "decorator_list", ())
    return any(ast.unparse(decorator).rpartition(".")[2] in {"overload", "_overload"} for decorator in decorators)


def _truth(test: ast.expr) -> bool | str | None:
    """True or False where this Python decides the branch, "types" for TYPE_CHECKING, None when it cannot be told."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _truth(test.operand)
        return True if inner == "types" else (not inner if isinstance(inner, bool) else None)
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, (ast.Name, ast.Attribute)):
        return "types" if ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING" else None
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _compared(ast.unparse(test.left), test.ops[0], test.comparators[0])
    return None


def _compared(left: str, operator: ast.cmpop, right: ast.expr) -> bool | None:
    try:
        wanted = ast.literal_eval(right)
    except ValueError:
        return None
    if left == "sys.version_info" and isinstance(wanted, tuple):
        return _order(tuple(sys.version_info), operator, wanted)
    if left == "sys.platform" and isinstance(wanted, str):
        return _order((sys.platform,), operator, (wanted,))
    return False if left == "__name__" and wanted == "__main__" else None


def _order(have: tuple[object, ...], operator: ast.cmpop, want: tuple[object, ...]) -> bool | None:
    kinds = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
    name = kinds.get(type(operator))
    if name is None:
        return None
    return bool(getattr(have, f"__{name}__")(want))
