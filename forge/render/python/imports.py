"""Which imports a script needs, and what each target is called after them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from forge.base.errors import GraphError
from forge.render.python.code import identifier, is_identifier, is_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from forge.base.origin import Origin

    Home: TypeAlias = "Callable[[str], tuple[str, tuple[str, ...]] | None]"

__all__ = ["PARTIAL", "Imports", "imports_for", "split_target"]

PARTIAL: Final = "functools.partial"
"""The target every partial object is made with."""

_WIDTH: Final = 100
_CONSTANT: Final = re.compile(r"[A-Z][A-Z0-9_]+\Z")


class _Wanted(NamedTuple):
    """A target, as the module to import and the names to follow from there."""

    target: str
    module: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Imports:
    """The import statements of a script, the source text of each target, and every name they bind."""

    expressions: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    _plain: dict[str, str] = field(default_factory=dict)
    _from: dict[str, set[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The statements, sorted and in two sections: the standard library, then everything else."""
        statements = [(module, True, _plain_line(module, name)) for module, name in self._plain.items()]
        statements += [(module, False, _from_line(module, names)) for module, names in self._from.items()]
        sections: dict[bool, list[str]] = {True: [], False: []}
        for module, _, line in sorted(statements, key=lambda item: (not item[1], item[0])):
            sections[module.partition(".")[0] in sys.stdlib_module_names].append(line)
        between = [""] if all(sections.values()) else []
        return [*sections[True], *between, *sections[False]]


def split_target(target: str, home: Home | None = None, origin: Origin | None = None) -> tuple[str, tuple[str, ...]]:
    """A target as its module and the names that lead from there to the object.

    ``home`` may know where the module ends; otherwise the first name with a capital letter is taken for a class, and
    without one the last name for a function.
    """
    parts = target.split(".")
    if len(parts) < 2 or not all(is_identifier(part) for part in parts):  # noqa: PLR2004 - a module and a name
        hint = "A target is a module and a name in it, such as 'torch.optim.AdamW'."
        raise GraphError(f"{target!r} is not the dotted name of a Python object", origin=origin, hint=hint)
    known = home(target) if home is not None else None
    if known is not None and known[1]:
        return known
    classes = (position for position, part in enumerate(parts) if position and part.lstrip("_")[:1].isupper())
    cut = next(classes, len(parts) - 1)
    return ".".join(parts[:cut]), tuple(parts[cut:])


def imports_for(targets: Iterable[str], home: Home | None = None) -> Imports:
    """The imports for these targets: two that would bind the same name are reached through their modules."""
    wanted = [_Wanted(target, *split_target(target, home)) for target in dict.fromkeys(targets)]
    modules = {each.module for each in wanted if _reads_best_with_module(each)}
    bound = {(each.module, each.names[0]) for each in wanted if not _reads_best_with_module(each)}
    clashes = Counter(name for _, name in bound)
    direct = {(module, name) for module, name in bound if clashes[name] == 1 and not is_taken(name)}
    direct -= {(module, name) for module, name in direct if name in modules}
    found = Imports(names={name for _, name in direct})
    for each in wanted:
        rest = ".".join(map(identifier, each.names))
        if (each.module, each.names[0]) in direct and not _reads_best_with_module(each):
            found._from.setdefault(each.module, set()).add(each.names[0])  # noqa: SLF001 - filled here, read by its method
            found.expressions[each.target] = rest
        else:
            found.expressions[each.target] = f"{_module_name(found, each.module)}.{rest}"
    return found


def _reads_best_with_module(wanted: _Wanted) -> bool:
    """``torch.bfloat16`` and ``json.loads`` are how people write them; a class is imported by its name."""
    if wanted.target == PARTIAL:
        return False
    short = "." not in wanted.module and wanted.names[0][:1].islower()
    return short or wanted.module.startswith("__")


def _module_name(imports: Imports, module: str) -> str:
    """The name a module is reached by, made on first use."""
    if module not in imports._plain:  # noqa: SLF001 - as above
        name = module.replace(".", "_")
        if is_taken(name):  # a builtin, or a dunder name, which stays one whatever stands behind it
            name = f"the_{name.strip('_')}"
        while name in imports.names:
            name += "_"
        imports.names.add(name)
        imports._plain[module] = identifier(name)  # noqa: SLF001 - as above
    return imports._plain[module]  # noqa: SLF001 - as above


def _dotted(module: str) -> str:
    return ".".join(map(identifier, module.split(".")))


def _plain_line(module: str, name: str) -> str:
    return f"import {_dotted(module)}" if name == module else f"import {_dotted(module)} as {name}"


def _from_line(module: str, names: set[str]) -> str:
    ordered = [identifier(name) for name in sorted(names, key=_import_order)]
    line = f"from {_dotted(module)} import {', '.join(ordered)}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"from {_dotted(module)} import (", *_indented(ordered), ")"])


def _indented(names: Iterable[str]) -> Iterator[str]:
    return (f"    {name}," for name in names)


def _import_order(name: str) -> tuple[int, str]:
    """Constants, classes, everything else: as import sorters have it."""
    return (0 if _CONSTANT.match(name) else 1 if name[:1].isupper() else 2), name
