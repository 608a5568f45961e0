"""What may be written at a position of a config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from forge.base.secrets import is_secret_name
from forge.compose.heading import heading
from forge.compose.interpolation import RESOLVERS
from forge.compose.reference import lookup
from forge.graph.call_check import admitted
from forge.graph.lower import SPECIAL_KEYS
from forge.graph.static.disk import Disk, Module
from forge.lsp.cursor import cursor_at
from forge.lsp.hover import parameter_text
from forge.lsp.pointed import owner_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from forge.base.paths import Path
    from forge.compose.project import Project
    from forge.graph.static.signature import Parameter, Signature
    from forge.lsp.cursor import Cursor
    from forge.lsp.desk import Desk, Sheet

__all__ = ["Proposal", "completions_at"]

_SWITCHES: Final = ("_partial_", "_recursive_", "_new_", "_list_")
_LARGEST_MODULE: Final = 200_000
_LONGEST: Final = 60


class Proposal(NamedTuple):
    """A text that may stand at the cursor, in place of what was typed from ``column`` on."""

    label: str
    kind: Literal["group", "choice", "key", "target", "path", "value"]
    column: int
    detail: str = ""
    documentation: str = ""
    insert: str = ""


def completions_at(desk: Desk, file: str, text: str, line: int, column: int) -> list[Proposal]:
    """What may be written at a position, counted from 0."""
    sheet = desk.sheet(file)
    cursor = cursor_at(text, line, column) if sheet is not None else None
    if sheet is None or cursor is None:
        return []
    found = list(_proposals(desk, sheet, cursor))
    typed = cursor.typed.lower()
    return [one for one in {one.label: one for one in found}.values() if typed in one.label.lower()]


def _proposals(desk: Desk, sheet: Sheet, cursor: Cursor) -> Iterator[Proposal]:
    if cursor.kind == "reference":
        yield from _paths(sheet, cursor)
    elif cursor.path[:1] == ("defaults",):
        yield from _defaults(sheet, cursor)
    elif cursor.kind == "key":
        yield from _keys(desk, sheet, cursor)
    elif cursor.kind == "value":
        yield from _values(desk, sheet, cursor)


# ---- defaults lists


def _defaults(sheet: Sheet, cursor: Cursor) -> Iterator[Proposal]:
    files = sheet.project.files()
    if len(cursor.path) >= 3:  # noqa: PLR2004 - defaults, the number, the group
        yield from _choices(sheet, cursor, files, str(cursor.path[2]))
    elif cursor.kind in {"item", "key"}:
        yield Proposal("_self_", "choice", cursor.column, "this file's own values")
        for group in sorted({name.rpartition("/")[0] for name in files} - {""}):
            label = f"/{group}"
            yield Proposal(label, "group", cursor.column, "group", insert=f"{label}: ")
            if cursor.typed.startswith("o"):
                yield Proposal(f"override {label}", "group", cursor.column, "group", insert=f"override {label}: ")
        base = os.path.dirname(sheet.name)
        for name, file in files.items():
            if os.path.dirname(name) == base and name != sheet.name:
                yield Proposal(os.path.basename(name), "choice", cursor.column, "file", heading(file))


def _choices(sheet: Sheet, cursor: Cursor, files: Mapping[str, str], written: str) -> Iterator[Proposal]:
    name = written.rsplit(" ", maxsplit=1)[-1].partition("@")[0]
    base = os.path.dirname(sheet.name)
    groups = [name.lstrip("/")] if name.startswith("/") or not base else [f"{base}/{name}", name]
    for group in groups:
        for config, file in files.items():
            if config.startswith(f"{group}/"):
                choice = config[len(group) + 1 :]
                yield Proposal(choice, "choice", cursor.column, group, heading(file))


# ---- keys and values


def _keys(desk: Desk, sheet: Sheet, cursor: Cursor) -> Iterator[Proposal]:
    """Parameters of the mapping's target, keys that the config has here, and the special keys; not those written already."""
    taken = {entry.path[-1] for entry in cursor.text.children(cursor.path)}
    colon = ": " if cursor.bare else ""
    signature = _signature(desk, sheet, cursor, cursor.path)
    names: dict[str, Proposal] = {}
    for parameter in signature.parameters if signature is not None else ():
        if parameter.kind != "positional_only":
            label = parameter.name
            names[label] = Proposal(label, "key", cursor.column, parameter_text(parameter), insert=label + colon)
    for key, shown in _composed_keys(sheet, cursor.path):
        if key == cursor.typed:
            continue  # half a word that the config has as a key by now
        names.setdefault(key, Proposal(key, "key", cursor.column, shown, insert=key + colon))
    for key in SPECIAL_KEYS if cursor.path or sheet.package else ("defaults", "meta", "args"):
        names.setdefault(key, Proposal(key, "key", cursor.column, insert=key + colon))
    return (proposal for name, proposal in names.items() if name not in taken)


def _composed_keys(sheet: Sheet, path: Path) -> Iterator[tuple[str, str]]:
    for key, value in sheet.mapping(path).items():
        if isinstance(key, str):
            yield key, _shown(key, value)


def _shown(key: str, value: Any) -> str:
    """The start of a plain value, unless its name says that it is a secret."""
    if isinstance(value, (dict, list)) or is_secret_name(key):
        return ""
    return str(value)[:_LONGEST]


def _values(desk: Desk, sheet: Sheet, cursor: Cursor) -> Iterator[Proposal]:
    key = str(cursor.path[-1])
    if key in {"_target_", "_symbol_"}:
        yield from _targets(desk, sheet, cursor, symbols=key == "_symbol_")
        return
    if key in _SWITCHES:
        yield from _listed(cursor, ("true", "false"))
        return
    for argument in sheet.composed.arguments if sheet.composed is not None else ():
        if tuple(argument.key.split(".")) == sheet.absolute(cursor.path):
            yield from _listed(cursor, argument.choices or (("true", "false") if argument.type == "bool" else ()))
    signature = _signature(desk, sheet, cursor, cursor.path[:-1])
    found = next((one for one in signature.parameters if one.name == key), None) if signature is not None else None
    if found is not None:
        yield from _listed(cursor, _literals(found), parameter_text(found))


def _listed(cursor: Cursor, values: Iterable[object], detail: str = "") -> Iterator[Proposal]:
    for value in values:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        written = f'"{text}"' if isinstance(value, str) and text in {"no", "yes", "on", "off", "null"} else text
        yield Proposal(text, "value", cursor.column, detail, insert=written)


def _literals(parameter: Parameter) -> tuple[object, ...]:
    wants = admitted(parameter)
    if wants is None:
        return ()
    return (
        *wants.literals,
        *((True, False) if "bool" in wants.kinds else ()),
        *((None,) if "None" in wants.kinds else ()),
    )


def _signature(desk: Desk, sheet: Sheet, cursor: Cursor, path: Path) -> Signature | None:
    target = owner_target(cursor.text, sheet, path)
    return desk.lookup(sheet.project, target).signature if target is not None else None


# ---- targets and references


def _targets(desk: Desk, sheet: Sheet, cursor: Cursor, *, symbols: bool) -> Iterator[Proposal]:
    """What files of the project name already, the project's own code, and the members of the module that was typed."""
    named = desk.named(sheet.project)
    known = named.symbols if symbols else named.targets
    typed = cursor.typed
    for target in sorted(known):
        if typed.lower() in target.lower():
            signature = desk.lookup(sheet.project, target).signature
            yield Proposal(target, "target", cursor.column, signature.doc if signature is not None else "")
    holder = typed.rpartition(".")[0]
    modules = [holder] if holder else sheet.project.source_packages
    for module in modules:
        for name in _members(sheet.project, module):
            yield Proposal(f"{module}.{name}", "target", cursor.column, f"in {module}")


def _members(project: Project, module: str) -> list[str]:
    """The public names of a module, found without importing it."""
    if not all(part.isidentifier() for part in module.split(".")):
        return []
    disk = Disk([folder for folder in project.source_folders if os.path.isdir(folder)])
    found = disk.module(module)
    if not isinstance(found, Module) or len(found.data) > _LARGEST_MODULE:
        return []
    names = {*(found.bindings.names if found.bindings is not None else ()), *disk.submodules(found)}
    return sorted(name for name in names if not name.startswith("_"))


def _paths(sheet: Sheet, cursor: Cursor) -> Iterator[Proposal]:
    """The paths of the composed config that continue what stands behind ``${``, one segment at a time."""
    if sheet.composed is None:
        return
    head, dot, _ = cursor.typed.rpartition(".")
    dots = len(cursor.typed) - len(cursor.typed.lstrip("."))
    name = head.lstrip(".")
    base = sheet.absolute(cursor.path)
    start = base[: len(base) - dots] if dots and dots <= len(base) else ()
    holder = lookup(sheet.composed.tree, (*start, *(name.split(".") if name else ())))
    before = cursor.typed[: len(head) + len(dot)] if not dots or name else "." * dots
    for key, value in holder.items() if isinstance(holder, dict) else ():
        if isinstance(key, str) and (before or key not in {"args", "meta"}):
            yield Proposal(f"{before}{key}", "path", cursor.column, _shown(key, value))
    if not before:
        for resolver in RESOLVERS:
            yield Proposal(f"{resolver}:", "path", cursor.column, "function")
