"""The answers to "what does this dotted name mean": a definition, a module, surely absent, or it cannot be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import ast

    from forge.graph.disk import Module

__all__ = ["Absent", "Definition", "Found", "Unknown"]


class Definition(NamedTuple):
    """A class or function and the file it stands in; ``owner`` is the class that a method was reached through.

    ``wrappers`` are the functions it was passed through afterwards, as in ``X = wrapper(X)``.
    """

    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    module: Module
    owner: Definition | None = None
    wrappers: tuple[tuple[ast.expr, Module], ...] = ()


class Unknown(NamedTuple):
    """It cannot be told.

    ``compiled``: the trail ends at a module without source. ``open``: no statement binds the name, but the module may
    make names while it runs.
    """

    compiled: bool = False
    open: bool = False


class Absent(NamedTuple):
    """A name that is surely not there: which part, in what, and the names that are there.

    ``as_module`` when that is sure only of a module: a compiled one may bring functions that its ``.pyi`` leaves out.
    """

    part: str
    where: str
    candidates: tuple[str, ...] = ()
    as_module: bool = False


Found: TypeAlias = "Definition | Module | Unknown | Absent"
