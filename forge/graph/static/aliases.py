"""What an annotation says when the names in it that stand for literals are written out: ``Mode | None`` as ``Literal['a', 'b'] | None``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from forge.graph.static.bindings import Assigned, ImportedFrom
from forge.graph.static.classes import last_name
from forge.graph.static.disk import Module

if TYPE_CHECKING:
    from forge.graph.static.source import SourceTree

__all__ = ["written_out"]

_LONGEST_TRAIL: Final = 10  # of modules that hand a name on


def written_out(source: SourceTree, annotation: ast.expr, module: Module) -> ast.expr:
    """An annotation of a module with its literals; whatever else it names stays as it is."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = (written_out(source, side, module) for side in (annotation.left, annotation.right))
        return ast.BinOp(next(sides), ast.BitOr(), next(sides))
    if isinstance(annotation, ast.Name):
        return _literal(source, annotation.id, module, _LONGEST_TRAIL) or annotation
    return annotation


def _literal(source: SourceTree, name: str, module: Module, trail: int) -> ast.expr | None:
    """The ``Literal[...]`` that a name of a module surely stands for."""
    bindings = module.bindings.names.get(name, ()) if module.bindings is not None else ()
    if len(bindings) != 1 or not trail:
        return None
    meaning = bindings[0].meaning
    if isinstance(meaning, ImportedFrom):
        home = source.module(meaning.module)
        return _literal(source, meaning.name, home, trail - 1) if isinstance(home, Module) else None
    value = meaning.expression if isinstance(meaning, Assigned) else None
    return value if isinstance(value, ast.Subscript) and last_name(value.value) == "Literal" else None
