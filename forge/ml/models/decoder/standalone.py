"""The decoder's own code as one file that needs torch and transformers alone: it travels in the model's folder."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from forge.ml.models.decoder import attention, config, feed_forward, layer, modeling, norm, parts, position
from forge.ml.models.decoder.config import CODE_MODULE
from forge.ml.models.decoder.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from forge.ml.models.decoder.config import DecoderConfig

__all__ = ["code_files", "standalone_source"]

_PACKAGE = "forge.ml.models.decoder"
_MODULES = (parts, norm, feed_forward, position, attention, layer, config, modeling)
_HEAD = '''\
"""The decoder of this folder. Load it with AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)."""

from __future__ import annotations
'''


def code_files(config: DecoderConfig) -> dict[str, str]:
    """The files, by name, that a folder with this config.json needs so that `transformers` alone can load it."""
    return {f"{CODE_MODULE}.py": standalone_source(config)}


def standalone_source(config: DecoderConfig) -> str:
    """The classes of the decoder, and those of parts that a project has written itself, in one module."""
    whole: set[str] = set()
    names: defaultdict[str, set[str]] = defaultdict(set)
    bodies = []
    for module in (*_MODULES, *_own_modules(config)):
        imports, body = _split(module)
        bodies.append(body)
        for node in imports:
            if isinstance(node, ast.ImportFrom):
                names[str(node.module)].update(ast.unparse(alias) for alias in node.names)
            else:
                whole.add(ast.unparse(node))
    names["typing"].discard("TYPE_CHECKING")
    lines = [f"from {module} import {', '.join(sorted(found))}" for module, found in names.items() if found]
    return "\n".join([_HEAD, *sorted(whole), *sorted(lines), "", "", "\n\n\n".join(bodies), ""])


def _own_modules(config: DecoderConfig) -> list[ModuleType]:
    """The modules of parts that are not forge's, first used first."""
    names = dict.fromkeys(type(part).__module__ for part in _parts_in(config))
    return [sys.modules[name] for name in names if not name.startswith(f"{_PACKAGE}.")]


def _parts_in(config: DecoderConfig) -> Iterator[Part]:
    waiting = [config.position, config.norm, *config.layers, *config.replaced.values()]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, Part):
            yield part
            waiting += vars(part).values()


def _split(module: ModuleType) -> tuple[list[ast.Import | ast.ImportFrom], str]:
    """The imports of a module, without those of this package, and the rest of its source."""
    with open(str(module.__file__), encoding="utf-8") as file:
        source = file.read()
    lines = source.splitlines(keepends=True)
    imports: list[ast.stmt] = []
    kept: list[str] = []
    previous = 0
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.append(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            imports += node.body  # imported for real: a standalone file has no need to save time
        elif not _is_preamble(node):
            kept += lines[previous : node.end_lineno]  # with the comments before it
        previous = node.end_lineno or 0
    return list(_needed(module.__name__, imports)), "".join(kept).strip("\n")


def _is_preamble(node: ast.stmt) -> bool:
    """A module's docstring or its ``__all__``."""
    return isinstance(node, ast.Expr) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")


def _needed(name: str, imports: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that stay, each checked to be of something that stands on its own."""
    for node in imports:
        text = ast.unparse(node)
        if text.startswith((f"from {_PACKAGE}", "from __future__")) or not isinstance(
            node, (ast.Import, ast.ImportFrom)
        ):
            continue
        if "forge" in text or getattr(node, "level", 0):
            raise ValueError(
                f"{name} has a part of this model and says `{text}`: a module with parts may import nothing of forge but "
                f"{_PACKAGE}, and nothing by a relative name, because its code is saved with the model"
            )
        yield node
