"""What the files of a project show of its configs: names, groups, targets, and what stands at each place of the tree.

A *place* is a path of the composed config. What may stand there is the union over every config of the project and every
choice of the groups that are put there, so that a child config which changes one value is understood without its parents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError
from forge.base.files import read_bounded
from forge.compose.cache import compose
from forge.compose.composed import NOT_OBJECTS
from forge.compose.composer import compose_fresh
from forge.compose.document import MAX_BYTES, parse_document
from forge.compose.reference import is_interpolation, lookup
from forge.graph.lower import SPECIAL_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forge.compose.arguments import Argument
    from forge.compose.composed import Composed
    from forge.compose.project import Project

__all__ = ["Branch", "Named", "Seen", "seen"]

# Other keys have no plain spelling in a schema's own paths; what stands below them is left unsaid.
_PLAIN_KEY: Final = re.compile(r"[\w-]+\Z", re.ASCII)


@dataclass(slots=True)
class Branch:
    """One path of the tree: the targets seen there, whether it was seen as a plain mapping too, and the keys below."""

    targets: set[str] = field(default_factory=set)
    plain: bool = False
    children: dict[str, Branch] = field(default_factory=dict)

    def at(self, path: Iterable[str]) -> Branch:
        """The place at a path below, made when it is not there yet."""
        place = self
        for key in path:
            place = place.children.setdefault(key, Branch())
        return place

    def find(self, path: Iterable[Any]) -> Branch | None:
        """The place at a path below, None when nothing was seen there."""
        place: Branch | None = self
        for key in path:
            place = place.children.get(str(key)) if place is not None else None
        return place

    def add(self, value: Any) -> None:
        """Take in what a config has here."""
        stack: list[tuple[Branch, Any]] = [(self, value)]
        while stack:
            place, found = stack.pop()
            if not isinstance(found, dict):
                continue
            target = found.get("_target_")
            if isinstance(target, str) and not is_interpolation(target):
                place.targets.add(target)
            else:
                place.plain = True
            inner = found.get("_recursive_") is not False
            for key, item in found.items():
                if isinstance(key, str) and key not in SPECIAL_KEYS and _PLAIN_KEY.match(key):
                    child = place.at((key,))
                    if inner:
                        stack.append((child, item))


@dataclass(frozen=True, slots=True)
class Seen:
    """The names and places of one project.

    ``files`` are all config files by name; ``groups`` the choices and parts of each folder; ``packages`` where the choices
    of a group lie when nobody says otherwise; ``rules`` what every config with this value says of it in its ``args:``.
    ``open_ended`` is true when a config adds folders of its own to the search path, so that no list of names is complete.
    """

    configs: tuple[str, ...]
    files: dict[str, str]
    groups: dict[str, tuple[str, ...]]
    packages: dict[str, tuple[str, ...]]
    root: Branch
    targets: tuple[str, ...]
    symbols: tuple[str, ...]
    rules: dict[str, tuple[Argument, ...]]
    open_ended: bool = False


def seen(project: Project) -> Seen:
    """Read and compose every file of a project; what does not parse or compose is passed over."""
    files = project.files()
    configs = tuple(config.name for config in project.configs())
    named = Named()
    for file in files.values():
        named.read(file)
    composed = [found for name in configs if (found := _composed(project, name)) is not None]
    choices = {
        name: found
        for name in files
        if "/" in name and name not in configs and (found := _composed(project, name, kept=False)) is not None
    }
    root, packages = _places(composed, choices)
    return Seen(
        configs=configs,
        files=files,
        groups=_groups(files),
        packages=packages,
        root=root,
        targets=tuple(sorted(named.targets)),
        symbols=tuple(sorted(named.symbols)),
        rules=_rules(composed),
        open_ended=named.open_ended,
    )


class Named:
    """The targets that files name, whether or not any config uses those files."""

    def __init__(self) -> None:
        self.targets: set[str] = set()
        self.symbols: set[str] = set()
        self.open_ended = False

    def read(self, file: str) -> None:
        """Take in the names of one file; a file that does not parse names nothing."""
        try:
            tree = parse_document(read_bounded(file, MAX_BYTES), file, "project").tree
        except ForgeError:
            return
        if isinstance(tree, dict) and isinstance(tree.get("hydra"), dict) and "searchpath" in tree["hydra"]:
            self.open_ended = True
        for value in _mappings(tree):
            for key, into in (("_target_", self.targets), ("_symbol_", self.symbols)):
                name = value.get(key)
                if isinstance(name, str) and all(part.isidentifier() for part in name.split(".")):
                    into.add(name)


def _mappings(tree: Any) -> Iterator[dict[Any, Any]]:
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _composed(project: Project, name: str, *, kept: bool = True) -> Composed | None:
    """A config, or a choice as if it were one; the cache of composed configs is not filled with choices."""
    try:
        return compose(project, name) if kept else compose_fresh(project, name)
    except ForgeError:
        return None


def _groups(files: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The names below each folder, as a defaults list writes them behind the group."""
    found: dict[str, list[str]] = {}
    for name in files:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            found.setdefault("/".join(parts[:depth]), []).append("/".join(parts[depth:]))
    return {group: tuple(sorted(names)) for group, names in sorted(found.items())}


def _places(composed: list[Composed], choices: dict[str, Composed]) -> tuple[Branch, dict[str, tuple[str, ...]]]:
    """What stands where, and where the choices of each group lie by themselves."""
    root = Branch()
    used_at: dict[str, set[str]] = {}
    for one in (*composed, *choices.values()):
        root.add({key: value for key, value in one.tree.items() if key not in NOT_OBJECTS})
        for used in one.files:
            used_at.setdefault(_group(used.config), set()).add(used.package)
    packages: dict[str, set[str]] = {}
    for name, one in choices.items():
        group = _group(name)
        own = next((used.package for used in reversed(one.files) if used.config == name), "")
        packages.setdefault(group, set()).add(own)
        content = lookup(one.tree, tuple(own.split("."))) if own else None
        for package in used_at[group] - {own, ""}:
            if own:
                root.at(package.split(".")).add(content)
    return root, {group: tuple(sorted(found)) for group, found in packages.items()}


def _group(name: str) -> str:
    return name.rpartition("/")[0]


def _rules(composed: list[Composed]) -> dict[str, tuple[Argument, ...]]:
    """The flags that set a value, where every config that has the value declares one."""
    found: dict[str, list[Argument]] = {}
    for one in composed:
        try:
            for argument in one.arguments:
                found.setdefault(argument.key, []).append(argument)
        except ForgeError:
            continue
    return {key: tuple(rules) for key, rules in found.items() if len(rules) == len(composed)}
