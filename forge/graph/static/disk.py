"""Python modules as files: found by path, never imported, and every look at the disk written down.

A *fact* is what one look at the disk found: the time and size of a file, or that nothing is there. An answer computed
from files stays true for as long as its facts do.
"""

from __future__ import annotations

import importlib.machinery
import os
import re
import stat
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from forge.graph.static.bindings import Bindings

__all__ = ["Compiled", "Disk", "Fact", "Module", "NotInstalled", "fact_of", "search_path"]

_ABSENT: Final = -1
_FOLDER: Final = -2
# A module may gain names while it runs, which no reading of its statements shows; `_C` is what compiled halves of a
# package are called, and those put names into it too.
_DYNAMIC: Final = re.compile(
    rb"def __getattr__\((?!self|cls)|globals\(\)(?:\[|\.update)|vars\(\)\[|\bsys\.modules\[__name__\]|"
    rb"setattr\(\s*sys\.modules|\bexec\(|\b_C\b"
)
_STAR: Final = re.compile(rb"\bimport\s+\*")
_ALL: Final = re.compile(rb"^__all__\s*(?::[^=\n]+)?=\s*[\[(](.*?)[\])]", re.DOTALL | re.MULTILINE)
_QUOTED: Final = re.compile(rb"""["']([A-Za-z_]\w*)["']""")


class Fact(NamedTuple):
    """What one look at a path found: time and size of a file, or that it is absent, or that it is a folder."""

    path: str
    time: int
    size: int


class Compiled(NamedTuple):
    """A module that is there but has no Python source to read."""

    name: str


class NotInstalled(NamedTuple):
    """A module whose top-level package is not on this machine."""

    name: str


def fact_of(path: str) -> Fact:
    """Look at a path now. A folder's time is not taken: files come and go in it without meaning."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return Fact(path, 0, _ABSENT)
    if stat.S_ISDIR(found.st_mode):
        return Fact(path, 0, _FOLDER)
    return Fact(path, found.st_mtime_ns, found.st_size)


def search_path() -> list[str]:
    """The folders of ``sys.path``, the current one by its name."""
    return [entry or os.getcwd() for entry in sys.path]


class Module:
    """One source file: its dotted name, where it is, its bytes, and what it binds once somebody asks."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        self.name = name
        self.path = path
        self.data = data
        self.is_package = os.path.basename(path).startswith("__init__.")

    @property
    def package(self) -> str:
        """Where its relative imports start."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @cached_property
    def has_star(self) -> bool:
        """Whether its bytes hold ``import *``."""
        return _STAR.search(self.data) is not None

    @cached_property
    def is_dynamic(self) -> bool:
        """Whether it may make names while it runs."""
        return _DYNAMIC.search(self.data) is not None

    @cached_property
    def tree(self) -> ast.Module | None:
        """Its syntax tree, None when it does not parse."""
        import ast  # a check whose signatures are cached never needs it
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # somebody else's invalid escapes are no business of ours
                return ast.parse(self.data)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    @cached_property
    def bindings(self) -> Bindings | None:
        """What its top level binds, None when it does not parse."""
        from forge.graph.static.bindings import bindings_of  # imports ast

        return bindings_of(self.tree.body, self.package) if self.tree is not None else None

    def mentions(self, name: str) -> bool:
        """Whether the name stands anywhere in its bytes: without it, only a star import can bring the name."""
        return name.encode() in self.data

    def exports(self, name: str) -> bool:
        """Whether ``import *`` from this module may bring the name."""
        if self.data.count(b"__all__") == 1 and _ALL.search(self.data):
            quoted = name.encode()
            return b'"' + quoted + b'"' in self.data or b"'" + quoted + b"'" in self.data
        return not name.startswith("_")

    @property
    def declared(self) -> list[str]:
        """The names of its ``__all__``, read without parsing; empty when it has none."""
        match = _ALL.search(self.data)
        return [name.decode() for name in _QUOTED.findall(match.group(1))] if match else []


class Disk:
    """Finds modules below ``sys.path`` and the project's source folders, and remembers every look as a fact."""

    def __init__(self, source_folders: Sequence[str] = ()) -> None:
        self.source_folders = tuple(source_folders)
        self.facts: dict[str, Fact] = {}
        self.touched: set[str] = set()
        self._modules: dict[str, Module] = {}
        self._homes: dict[str, str | Compiled | NotInstalled] = {}

    def look(self, path: str) -> Fact:
        """What is at a path, looked up once."""
        self.touched.add(path)
        fact = self.facts.get(path)
        if fact is None:
            fact = self.facts[path] = fact_of(path)
        return fact

    def is_file(self, path: str) -> bool:
        """Whether a regular file is there."""
        return self.look(path).size >= 0

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there."""
        return self.look(path).size == _FOLDER

    def module(self, name: str) -> Module | Compiled | NotInstalled | None:
        """The module of a dotted name; None when its package is there and it is not."""
        home = self._home(name.partition(".")[0])
        if not isinstance(home, str):
            return home._replace(name=name)
        parts = name.split(".")[1:]
        if not parts:
            return self._at(home, name)
        folder = home
        for part in parts[:-1]:
            folder = os.path.join(folder, part)
        return self._at(os.path.join(folder, parts[-1]), name) if self.is_folder(folder) else None

    def stub(self, module: Module) -> Module | None:
        """The ``.pyi`` beside a source file: what compiled packages ship to say what is in them."""
        path = os.path.splitext(module.path)[0] + ".pyi"
        if path == module.path or not self.is_file(path):
            return None
        return self._read(path, module.name)

    def surely_lacks(self, name: str, wanted: str) -> bool:
        """Whether the ``.pyi`` of a compiled module is there and says nothing of a name."""
        home = self._home(name.partition(".")[0])
        if not isinstance(home, str):
            return False
        stem = os.path.join(home, *name.split(".")[1:])
        stubs = [path for path in (stem + ".pyi", os.path.join(stem, "__init__.pyi")) if self.is_file(path)]
        modules = [module for path in stubs if (module := self._read(path, name)) is not None]
        return bool(modules) and not any(module.mentions(wanted) for module in modules)

    def submodules(self, module: Module) -> list[str]:
        """The names of the modules in a package."""
        if not module.is_package:
            return []
        try:
            entries = os.listdir(os.path.dirname(module.path))
        except OSError:
            return []
        names = {entry.partition(".")[0] for entry in entries if "." not in entry or entry.endswith((".py", ".so"))}
        return sorted(name for name in names if name.isidentifier() and not name.startswith("__"))

    def _at(self, stem: str, name: str) -> Module | Compiled | None:
        """A module at ``stem``: a package folder, a source file or a compiled file, in the order Python looks."""
        if self.is_folder(stem):
            package = os.path.join(stem, "__init__.py")
            if self.is_file(package):
                return self._read(package, name)
        if self.is_file(stem + ".py"):
            return self._read(stem + ".py", name)
        compiled = self._compiled(stem, name)
        if compiled is None and self.is_folder(stem):
            return Module(name, os.path.join(stem, "__init__.py"), b"")  # a namespace package
        return compiled

    def _compiled(self, stem: str, name: str) -> Compiled | None:
        suffixes = [*importlib.machinery.EXTENSION_SUFFIXES, ".pyc"]
        return Compiled(name) if any(self.is_file(stem + suffix) for suffix in suffixes) else None

    def _read(self, path: str, name: str) -> Module | None:
        self.look(path)
        module = self._modules.get(path)
        if module is None:
            try:
                with open(path, "rb") as file:
                    module = Module(name, path, file.read())
            except OSError:
                return None
            self._modules[path] = module
        return module

    def forget(self, module: Module) -> None:
        """Let go of a file's bytes, after one look among thousands."""
        if "tree" not in vars(module):
            self._modules.pop(module.path, None)

    def _home(self, top: str) -> str | Compiled | NotInstalled:
        if top not in self._homes:
            self._homes[top] = self._find_home(top)
        home = self._homes[top]
        if isinstance(home, str):
            self._note_shadows(top, home)
        return home

    def _find_home(self, top: str) -> str | Compiled | NotInstalled:
        """The path of a top-level module without its suffix."""
        if top in sys.builtin_module_names:
            return Compiled(top)
        for folder in self._search_path():
            stem = os.path.join(folder, top)
            if self._is_module(stem):
                return stem
        stems = [os.path.join(folder, top) for folder in self.source_folders]
        return next(filter(self.is_folder, stems), None) or self._from_other_finders(top)

    def _is_module(self, stem: str) -> bool:
        if self.is_file(stem + ".py") or self.is_file(os.path.join(stem, "__init__.py")):
            return True
        return any(os.path.isfile(stem + suffix) for suffix in importlib.machinery.EXTENSION_SUFFIXES)

    @staticmethod
    def _from_other_finders(top: str) -> str | Compiled | NotInstalled:
        """Namespace packages, and editable installs, whose finders ``site`` has put into ``sys.meta_path``."""
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(top, None) if find is not None else None
            if spec is None:
                continue
            origin: str | None = spec.origin
            if origin and origin.endswith(".py"):
                stem = os.path.splitext(origin)[0]
                return os.path.dirname(stem) if os.path.basename(stem) == "__init__" else stem
            locations: list[str] = list(spec.submodule_search_locations or ())
            return locations[0] if len(locations) == 1 else Compiled(top)
        return NotInstalled(top)

    def _search_path(self) -> list[str]:
        """Source folders come last, as they do when forge imports: they can never hide an installed module."""
        return [*search_path(), *self.source_folders]

    def _note_shadows(self, top: str, home: str) -> None:
        """A module of the same name in an earlier folder would win: its absence is part of the answer."""
        for folder in self._search_path():
            stem = os.path.join(folder, top)
            if stem == home:
                return
            self.look(stem + ".py")
            self.look(os.path.join(stem, "__init__.py"))
