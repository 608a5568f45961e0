"""Docstrings taken from source files with `ast`: nothing of the standard library is imported, so nothing of it runs."""

from __future__ import annotations

import ast
import os
import sysconfig
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydoc_text.modules import MODULES, SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Entry", "Kind", "entries", "topics"]

Kind = Literal["module", "class", "function", "method"]


class Entry(NamedTuple):
    """One documented thing: what it is, its full name, how it is called, and what its docstring says."""

    kind: Kind
    name: str
    signature: str
    text: str

    @property
    def heading(self) -> str:
        """The name as one would write it in code."""
        return f"{self.name}{self.signature}"


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Every public documented thing of the listed modules, in the order of the list and of the files."""
    found: dict[str, Entry] = {}
    for module in MODULES:
        for entry in _entries_of(module):
            found.setdefault(entry.name, entry)
    return tuple(found.values())


@lru_cache(maxsize=1)
def topics() -> dict[str, str]:
    """The topics of Python's language reference, as ``help()`` shows them, by their keywords."""
    path = _source_file("pydoc_data.topics")
    if path is None:
        return {}
    for node in _parse(path).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            return dict(sorted(ast.literal_eval(node.value).items()))
    return {}


def _entries_of(module: str) -> Iterator[Entry]:
    for source in SOURCES.get(module, (module,)):
        path = _source_file(source)
        if path is not None:
            tree = _parse(path)
            text = ast.get_docstring(tree)
            if text:
                yield Entry("module", module, "", text)
            yield from _members(tree, module, inside_class=False)


def _members(node: ast.Module | ast.ClassDef, prefix: str, *, inside_class: bool) -> Iterator[Entry]:
    """The public classes, functions and methods defined right below a module or a class."""
    for child in node.body:
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or child.name.startswith("_"):
            continue
        name = f"{prefix}.{child.name}"
        text = ast.get_docstring(child)
        if isinstance(child, ast.ClassDef):
            if text:
                yield Entry("class", name, "", text)
            yield from _members(child, name, inside_class=True)
        elif text:
            yield Entry(
                "method" if inside_class else "function", name, _signature(child, inside_class=inside_class), text
            )


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef, *, inside_class: bool) -> str:
    """The arguments as they are written, without annotations and without the object that a method belongs to."""
    decorators = {node.id for node in function.decorator_list if isinstance(node, ast.Name)}
    if "property" in decorators:
        return ""
    arguments = function.args
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    if inside_class and "staticmethod" not in decorators:
        del (arguments.posonlyargs or arguments.args)[:1]
    return f"({ast.unparse(arguments)})"


def _source_file(module: str) -> str | None:
    base = os.path.join(sysconfig.get_path("stdlib"), *module.split("."))
    candidates = (f"{base}.py", os.path.join(base, "__init__.py"))
    return next((path for path in candidates if os.path.isfile(path)), None)


def _parse(path: str) -> ast.Module:
    with open(path, "rb") as file:
        return ast.parse(file.read(), path)
