"""What a dotted name means, found by reading source files: nothing of it is imported.

Re-exports, relative and star imports, ``TYPE_CHECKING`` branches, ``try``/``except ImportError``, assignments and the
members of classes are followed. Three answers are kept apart: the name is defined there; the name surely does not
exist; it cannot be told. The last one is never held against a config.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from forge.graph.static.bindings import Assigned, Binding, Bindings, Defined, Imported, ImportedFrom, Star, bindings_of
from forge.graph.static.classes import Absent, Definition, Resolved, Unknown, class_member
from forge.graph.static.disk import Compiled, Disk, Module, NotInstalled
from forge.graph.static.misspelt import surely_meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["SourceTree"]

_CANNOT_TELL: Final = Unknown()
_COMPILED: Final = Unknown(compiled=True)
_OPEN: Final = Unknown(open=True)
# A longer chain of re-exports than this is a cycle.
_LONGEST_TRAIL: Final = 60


class SourceTree:
    """Answers what dotted names mean, from the files of one `Disk`."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._trail: list[tuple[str, str]] = []
        self._bodies: dict[int, Bindings] = {}

    def resolve(self, dotted: str) -> Resolved:
        """What a dotted name means."""
        head, *rest = dotted.split(".")
        found = self.module(head)
        for part in rest:
            if isinstance(found, (Unknown, Absent)):
                return found
            found = self.member(found, part)
        if isinstance(found, Absent) and found.as_module and found.part == rest[-1]:
            return _CANNOT_TELL
        return found

    def module(self, name: str) -> Resolved:
        """The module of a dotted name."""
        found = self.disk.module(name)
        if isinstance(found, Compiled):
            return _COMPILED
        return _CANNOT_TELL if found is None or isinstance(found, NotInstalled) else found

    def member(self, holder: Definition | Module, name: str) -> Resolved:
        """What ``holder.name`` means."""
        if isinstance(holder, Definition):
            return class_member(self, holder, name)
        found = self._defined(holder, name)
        if isinstance(found, (Definition, Module)):
            return found
        submodule = self._submodule(holder, name)
        if submodule is not None:
            return submodule
        if found is None:
            return Absent(name, holder.name, tuple(self._names(holder)))
        if found.open:
            names = tuple(self._names(holder))
            # `multiprocessing.Pool` is made while the module runs; that there is a file `pool.py` says nothing.
            near = surely_meant(name, [other for other in names if other != name.lower()])
            return Absent(name, holder.name, names, found.compiled) if near else found
        return (self._in_stub(holder, name) if found.compiled else None) or found

    def meaning(self, expression: ast.expr | None, module: Module) -> Resolved:
        """What an expression in a module means when it is a name or a dotted name; others cannot be told."""
        found: Resolved = _CANNOT_TELL
        if isinstance(expression, ast.Subscript):  # a generic class with its parameters
            found = self.meaning(expression.value, module)
        elif isinstance(expression, ast.Name):
            found = self.member(module, expression.id)
        elif isinstance(expression, ast.Attribute):
            holder = self.meaning(expression.value, module)
            found = self.member(holder, expression.attr) if isinstance(holder, (Definition, Module)) else holder
        return _CANNOT_TELL if isinstance(found, Absent) else found

    def body(self, definition: Definition) -> Bindings:
        """What a class's body binds."""
        node = definition.node
        found = self._bodies.get(id(node))
        if found is None:
            found = self._bodies[id(node)] = bindings_of(node.body, definition.module.package)
        return found

    def _defined(self, module: Module, name: str) -> Definition | Module | Unknown | None:
        """What the module's statements make of a name; None when they surely do not bind it."""
        step = (module.path, name)
        if step in self._trail or len(self._trail) > _LONGEST_TRAIL:
            return _COMPILED  # a compiled package that imports itself from its own source files
        self._trail.append(step)
        try:
            return self._by_statements(module, name)
        finally:
            self._trail.pop()

    def _by_statements(self, module: Module, name: str) -> Definition | Module | Unknown | None:
        if not module.mentions(name) and not module.has_star:
            return _OPEN if module.is_dynamic else None
        bindings = module.bindings
        if bindings is None:
            return _CANNOT_TELL
        own = bindings.names.get(name, ())
        certain = [binding for binding in own if not binding.fallback]
        if certain:
            return self._alternatives(certain, module, name)
        starred = self._starred(reversed([star for star in bindings.stars if not star.fallback]), name)
        if isinstance(starred, (Definition, Module)):
            return starred
        if own:
            return self._alternatives(own, module, name)
        declared = self._starred(_likeliest_first([star for star in bindings.stars if star.fallback], name), name)
        if isinstance(declared, (Definition, Module)):
            return declared
        if module.is_dynamic or _is_global(module, name):
            return starred or declared or _OPEN
        return starred or declared

    def _alternatives(self, bindings: Sequence[Binding], module: Module, name: str) -> Definition | Module | Unknown:
        """The one thing that all bindings of a name mean, if there is one."""
        found = [self._meant(binding, module, name) for binding in bindings]
        first = found[0]
        same = all(one is first or (isinstance(one, Definition) and _same(one, first)) for one in found)
        if same and not isinstance(first, Absent):
            return first
        return _COMPILED if any(isinstance(one, Unknown) and one.compiled for one in found) else _CANNOT_TELL

    def _meant(self, binding: Binding, module: Module, name: str) -> Resolved:
        meaning = binding.meaning
        if isinstance(meaning, Defined):
            return Definition(meaning.node, module)
        if isinstance(meaning, Imported):
            return self.module(meaning.module)
        if isinstance(meaning, ImportedFrom):
            home = self.module(meaning.module)
            return self.member(home, meaning.name) if isinstance(home, Module) else home
        return self._value(meaning, module, name)

    def _value(self, value: Assigned, module: Module, name: str) -> Resolved:
        """``Name = other.Name``, and ``Name = wrapper(Name)`` with what the name meant before."""
        expression = value.expression
        if isinstance(expression, ast.Call) and expression.args and value.before:
            first = expression.args[0]
            if isinstance(first, ast.Name) and first.id == name:
                inner = self._alternatives(value.before, module, name)
                if isinstance(inner, Definition):
                    return inner._replace(wrappers=(*inner.wrappers, (expression.func, module)))
        return self.meaning(expression, module)

    def _starred(self, stars: Iterable[Star], name: str) -> Definition | Module | Unknown | None:
        """What the first of some star imports that brings the name makes of it."""
        pending: Unknown | None = None
        for star in stars:
            home = self.module(star.module)
            if isinstance(home, Module):
                found = self._brought(home, name)
                if isinstance(found, (Definition, Module)):
                    return found
                pending = pending or found
            elif not self.disk.surely_lacks(star.module, name):
                pending = pending or _COMPILED
            else:
                pending = pending or Unknown(compiled=True, open=True)
        return pending

    def _brought(self, home: Module, name: str) -> Definition | Module | Unknown | None:
        """What ``from home import *`` brings under a name."""
        if not home.mentions(name) and not home.has_star:
            self.disk.forget(home)
            return None
        return self._defined(home, name) if home.exports(name) else None

    def _submodule(self, module: Module, name: str) -> Module | Unknown | None:
        if not module.is_package:
            return None
        found = self.disk.module(f"{module.name}.{name}")
        if isinstance(found, Compiled):
            return _COMPILED
        return found if isinstance(found, Module) else None

    def _in_stub(self, module: Module, name: str) -> Definition | None:
        """The definition in the ``.pyi`` beside a source file whose name leads into compiled code."""
        stub = self.disk.stub(module)
        found = self._defined(stub, name) if stub is not None else None
        return found if isinstance(found, Definition) else None

    def _names(self, module: Module) -> list[str]:
        """The public names of a module, those it declares for its star imports included."""
        names = set(self.disk.submodules(module))
        stack, seen = [module], {module.path}
        while stack:
            here = stack.pop()
            declared = [] if here.has_star or here is module else here.declared
            names.update(declared)
            bindings = here.bindings if not declared else None
            if bindings is None:
                self.disk.forget(here)
                continue
            names.update(bindings.names)
            for star in bindings.stars:
                home = self.module(star.module)
                if isinstance(home, Module) and home.path not in seen:
                    seen.add(home.path)
                    stack.append(home)
        return sorted(name for name in names if not name.startswith("_"))


def _likeliest_first(stars: list[Star], name: str) -> list[Star]:
    """Star imports of modules whose own name is part of the wanted one first: `.llama` for `LlamaConfig`.

    Only where the order has no meaning: a package with lazy imports has one home for each name.
    """
    wanted = name.lower()

    def rank(star: Star) -> int:
        last = star.module.rpartition(".")[2].replace("_", "")
        return -len(last) if last in wanted else 0

    return sorted(stars, key=rank)


def _is_global(module: Module, name: str) -> bool:
    return re.search(rb"\bglobal\b[^\n]*\b" + re.escape(name.encode()) + rb"\b", module.data) is not None


def _same(one: Definition, other: Resolved) -> bool:
    return isinstance(other, Definition) and one.node is other.node and one.wrappers == other.wrappers
