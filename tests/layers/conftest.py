from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Import:
    """One import of a module: what is imported, where, and whether the module needs it to be imported itself."""

    target: str
    line: int
    at_top: bool
    typing_only: bool


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    tree: ast.Module
    imports: list[Import] = field(default_factory=list)

    @property
    def package(self) -> str:
        """`graph` for forge.graph.node, `api` for forge.api.config, an empty text for forge itself."""
        return self.name.partition(".")[2].partition(".")[0]

    def where(self, node: ast.AST | int) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 0)
        return f"{self.path.relative_to(ROOT)}:{line}"


def read_modules(folder: Path) -> dict[str, Module]:
    """Every module below a package folder, parsed and not imported."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        steps = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(steps[:-1] if steps[-1] == "__init__" else steps)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    for module in found.values():
        module.imports.extend(_imports(module, set(found)))
    return found


def _imports(module: Module, known: set[str]) -> Iterator[Import]:
    stack: list[tuple[ast.AST, bool, bool]] = [(module.tree, True, False)]
    while stack:
        node, at_top, typing_only = stack.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_top, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in known else base, node.lineno, at_top, typing_only)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            stack += [(child, at_top, True) for child in node.body] + [
                (child, at_top, typing_only) for child in node.orelse
            ]
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            stack += [(child, at_top and not inside, typing_only) for child in ast.iter_child_nodes(node)]


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    steps = module.name.split(".")
    steps = steps[: len(steps) - node.level + (module.path.name == "__init__.py")]
    return ".".join([*steps, node.module] if node.module else steps)


@pytest.fixture(scope="session")
def modules() -> dict[str, Module]:
    return read_modules(ROOT / "forge")


@pytest.fixture(scope="session")
def reader() -> Callable[[Path], dict[str, Module]]:
    return read_modules


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
