"""The parameters of a dotted name, read from source files, without importing anything.

``lookup_target`` keeps three answers apart: found, surely absent, and unknown. What was found is kept on disk together with the
time and size of every file that took part, so that the next check costs a few file looks instead of a parse.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from forge import __version__
from forge.base.collector import collector_paused
from forge.base.places import user_cache
from forge.graph.static.disk import Disk, Fact, fact_of, search_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.graph.static.source import SourceTree

__all__ = ["Lookup", "Parameter", "ParameterKind", "Signature", "Signatures", "lookup_target", "signature_of"]

ParameterKind: TypeAlias = Literal["positional_only", "positional_or_keyword", "keyword_only"]

_FILE: Final = "signatures.json"
# Raise it when the same files would give other answers.
_FORMAT: Final = 3
_MOST_TARGETS: Final = 2000
_MOST_PLACES: Final = 50
_SETTLED: Final = 2_000_000_000  # nanoseconds


class Parameter(NamedTuple):
    """One parameter of a call; ``annotation`` and ``default`` are Python text, the default None when there is none."""

    name: str
    kind: ParameterKind
    required: bool
    annotation: str = ""
    default: str | None = None


class Signature(NamedTuple):
    """How a class or function is called, and where it is defined.

    ``var_positional`` and ``var_keyword`` say whether it takes arguments beyond ``parameters``.
    """

    target: str
    parameters: tuple[Parameter, ...]
    var_positional: bool
    var_keyword: bool
    doc: str
    file: str
    line: int
    is_class: bool


class Lookup(NamedTuple):
    """What reading the sources says about a target.

    ``found``: it is a class or function, though its signature may be beyond telling. ``absent``: ``part`` surely is not
    in ``where``; ``candidates`` are the names there that look like it. ``unknown``: it cannot be told.
    """

    status: Literal["found", "absent", "unknown"]
    signature: Signature | None = None
    part: str = ""
    where: str = ""
    candidates: tuple[str, ...] = ()


_UNKNOWN: Final = Lookup("unknown")
# Behind a target, it asks for what a call of it gives; no target ends like this.
_CALLED: Final = "()"


def lookup_target(target: str, source_folders: Sequence[str] = ()) -> Lookup:
    """What reading the sources says about a dotted name; source folders are looked at after ``sys.path``."""
    signatures = Signatures(source_folders)
    found = signatures.lookup(target)
    signatures.save()
    return found


def signature_of(target: str, source_folders: Sequence[str] = ()) -> Signature | None:
    """The signature of a dotted name, None when it cannot be told or the name does not exist."""
    return lookup_target(target, source_folders).signature


class Signatures:
    """Looks up many targets and remembers the answers, in this object and on disk."""

    def __init__(self, source_folders: Sequence[str] = ()) -> None:
        self._folders = tuple(os.path.abspath(folder) for folder in source_folders)
        self._known: dict[str, Lookup] = {}
        self._facts: dict[str, Fact] = {}
        self._store: dict[str, Any] | None = None
        self._source: SourceTree | None = None
        self._is_new = False

    def lookup(self, target: str) -> Lookup:
        """What reading the sources says about a dotted name."""
        found = self._known.get(target)
        if found is None:
            found = self._stored(target)
            if found is None:
                found = self._read(target)
            self._known[target] = found
        return found

    def makes_object(self, target: str) -> bool:
        """Whether calling a target surely gives an object that is no text, number, list or dict."""
        return self.lookup(f"{target}{_CALLED}").status == "found"

    def save(self) -> None:
        """Write what was found anew; a cache that cannot be written is no reason to fail."""
        if not self._is_new or self._store is None:
            return
        self._is_new = False
        from forge.base.errors import FileError  # most checks write nothing
        from forge.base.files import make_folder, write_atomic

        targets = self._store["targets"]
        for key in list(targets)[: max(0, len(targets) - _MOST_TARGETS)]:
            del targets[key]
        try:
            make_folder(user_cache())
            write_atomic(_path(), json.dumps(self._packed(), separators=(",", ":")), 0o600, durable=False)
        except FileError:
            return

    def _stored(self, target: str) -> Lookup | None:
        """The answer on disk, if every file that took part is as it was."""
        store = self._loaded()
        entry = store["targets"].get(self._key(target))
        if entry is None:
            return None
        files = store["files"]
        if any(self._fact(files[number][0]) != tuple(files[number]) for number in entry[1]):
            return None
        return _unpacked(entry[0])

    def _read(self, target: str) -> Lookup:
        if self._source is None:
            from forge.graph.static.source import SourceTree  # imports ast, which a cached check does without

            self._source = SourceTree(Disk(self._folders))
        disk = self._source.disk
        disk.touched.clear()
        with collector_paused():
            found = _look_up(self._source, target)
        facts = [disk.facts[path] for path in sorted(disk.touched)]
        self._facts.update((fact.path, fact) for fact in facts)
        # A file written a moment ago may be written again without a change of its time and size.
        if max((fact.time for fact in facts), default=0) < time.time_ns() - _SETTLED:
            self._remember(target, found, facts)
        return found

    def _remember(self, target: str, found: Lookup, facts: list[Fact]) -> None:
        store = self._loaded()
        numbers = store["numbers"]
        for fact in facts:
            if fact not in numbers:
                numbers[fact] = len(store["files"])
                store["files"].append(list(fact))
        store["targets"][self._key(target)] = [list(found), [numbers[fact] for fact in facts]]
        self._is_new = True

    def _fact(self, path: str) -> Fact:
        fact = self._facts.get(path)
        if fact is None:
            fact = self._facts[path] = fact_of(path)
        return fact

    def _key(self, target: str) -> str:
        """Another search path, or other source folders, may give another answer."""
        places = self._loaded()["places"]
        here = [*search_path(), "", *self._folders]
        if here not in places:
            places.append(here)
        return f"{places.index(here)}|{target}"

    def _loaded(self) -> dict[str, Any]:
        if self._store is None:
            self._store = _load()
            self._store["numbers"] = {Fact(*fact): number for number, fact in enumerate(self._store["files"])}
        return self._store

    def _packed(self) -> dict[str, Any]:
        """The store without the files that no target uses any more."""
        store = self._loaded()
        used = sorted({number for entry in store["targets"].values() for number in entry[1]})
        renumbered = {number: index for index, number in enumerate(used)}
        return {
            "made_by": _maker(),
            "places": store["places"],
            "files": [store["files"][number] for number in used],
            "targets": {key: [e[0], [renumbered[n] for n in e[1]]] for key, e in store["targets"].items()},
        }


def _look_up(source: SourceTree, target: str) -> Lookup:
    from forge.base.spelling import nearest  # imports difflib
    from forge.graph.static.classes import Absent, Definition  # imports ast
    from forge.graph.static.parameters import makes_object, signature_from  # imports ast

    if target.endswith(_CALLED):
        called = source.resolve(target.removesuffix(_CALLED))
        return Lookup("found") if isinstance(called, Definition) and makes_object(source, called) else _UNKNOWN
    if not all(part.isidentifier() for part in target.split(".")):
        return _UNKNOWN
    found = source.resolve(target)
    if isinstance(found, Definition):
        return Lookup("found", signature_from(source, found, target))
    if isinstance(found, Absent):
        near = [name for name in found.candidates if abs(len(name) - len(found.part)) <= max(3, len(found.part) // 2)]
        return Lookup("absent", None, found.part, found.where, tuple(nearest(found.part, near)))
    return _UNKNOWN


def _unpacked(entry: list[Any]) -> Lookup:
    status, signature, part, where, candidates = entry
    if signature is not None:
        target, parameters, *rest = signature
        signature = Signature(target, tuple(Parameter(*one) for one in parameters), *rest)
    return Lookup(status, signature, part, where, tuple(candidates))


def _path() -> str:
    return os.path.join(user_cache(), _FILE)


def _maker() -> list[object]:
    """Answers of another forge or another Python are not ours."""
    return [_FORMAT, __version__, list(sys.version_info[:3]), sys.platform]


def _load() -> dict[str, Any]:
    empty: dict[str, Any] = {"places": [], "files": [], "targets": {}}
    try:
        with open(_path(), "rb") as file:
            store = json.loads(file.read())
    except (OSError, ValueError):
        return empty
    ours = isinstance(store, dict) and store.get("made_by") == _maker() and len(store["places"]) <= _MOST_PLACES
    return store if ours else empty
