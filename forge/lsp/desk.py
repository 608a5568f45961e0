"""The projects behind the files that an editor shows, with what is typed and not yet saved in place of what is on the disk.

Files are looked at anew for each question; what is kept is kept only as long as the files it came from are the same.
``project.yaml`` is the exception: it counts as it was saved.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import ForgeError
from forge.base.files import read_bounded
from forge.base.places import shipped_projects
from forge.compose.cache import compose
from forge.compose.composer import compose_fresh
from forge.compose.document import MAX_BYTES
from forge.compose.lookups import Lookups, content_digest
from forge.compose.project import DEFAULT_PROJECT, find_project, projects_below
from forge.graph.static.signature import Signatures
from forge.render.schema.seen import Named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.base.paths import Path
    from forge.compose.composed import Composed
    from forge.compose.project import Project
    from forge.graph.static.signature import Lookup

__all__ = ["Desk", "Sheet", "Way"]

_MOST_KEPT: Final = 50
_SHORT_WHILE: Final = 5.0  # seconds for which what was read from Python files is believed


class Way(NamedTuple):
    """How a file is looked at: as part of a config, or, when none takes it, as if it were one itself."""

    config: str
    overrides: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A config file: its project, its name there, the config it is seen as a part of, and where its content lies in that."""

    file: str
    project: Project
    name: str
    way: Way
    package: Path
    composed: Composed | None

    @property
    def is_config(self) -> bool:
        """Whether the file is the config itself, not a part of one."""
        return self.name == self.way.config and not self.way.alone

    def absolute(self, path: Path) -> Path:
        """The path in the composed config of a path in this file."""
        return (*self.package, *path)

    def mapping(self, path: Path) -> dict[Any, Any]:
        """The mapping at a path of this file as it is composed; where half a word has replaced it, the one before that."""
        if self.composed is None:
            return {}
        value = self.composed.value(self.absolute(path))
        if isinstance(value, dict):
            return value
        earlier = reversed(self.composed.history(self.absolute(path)))
        return next((setting.value for setting in earlier if isinstance(setting.value, dict)), {})

    def file_of(self, config: str) -> str | None:
        """The file of a config by its name in the search path."""
        paths = (os.path.join(root.folder, f"{config}.yaml") for root in self.project.roots)
        return next(filter(os.path.isfile, paths), None)


class _Kept(NamedTuple):
    """A composition, or the mistake it ended with, and every look at the disk it took."""

    composed: Composed | ForgeError
    record: dict[str, Any]


class Desk:
    """What a language server knows: the folders that are open, the texts that are shown, and the projects they belong to."""

    def __init__(self, folders: Sequence[str] = ()) -> None:
        self.folders = tuple(folders)
        self.shown: dict[str, str] = {}
        self._below: list[str] | None = None
        self._ways: dict[tuple[str, str], Way] = {}
        self._last: dict[tuple[str, Way], Composed] = {}
        self._kept: dict[object, _Kept] = {}
        self._signatures: tuple[float, dict[tuple[str, ...], Signatures]] = (0.0, {})
        self._named: tuple[object, Named] | None = None

    def show(self, file: str, text: str) -> None:
        """Take in what an editor shows of a file."""
        self.shown[os.path.abspath(file)] = text

    def hide(self, file: str) -> None:
        """The editor closed the file: what is on the disk counts again."""
        self.shown.pop(os.path.abspath(file), None)

    def unsaved(self) -> dict[str, bytes]:
        """The contents that differ from what is on the disk."""
        return {file: data for file, text in self.shown.items() if (data := text.encode()) != _on_disk(file)}

    def sheet(self, file: str) -> Sheet | None:
        """A config file as a part of its project; None for a file that belongs to none."""
        file = os.path.abspath(file)
        project = self.project_of(file)
        name = _name_of(project, file) if project is not None else None
        if project is None or name is None:
            return None
        way = self._way(project, name)
        composed = self.composed(project, way)
        used = [one for one in composed.files if one.config == name] if composed is not None else []
        package = used[-1].package if used else name.rpartition("/")[0].replace("/", ".") if way.alone else ""
        path = tuple(part for part in package.split(".") if part)
        return Sheet(file, project, name, way, path, composed)

    def project_of(self, file: str) -> Project | None:
        """The project around a file, or one that takes files from its folder."""
        for folder in self._places(file):
            try:
                project = find_project(folder)
            except ForgeError:
                continue
            if _name_of(project, file) is not None:
                return project
        return None

    def _places(self, file: str) -> Iterator[str]:
        yield os.path.dirname(file)
        if self._below is None:
            self._below = [found for folder in self.folders for found in projects_below(folder)]
        yield from self._below
        yield os.path.join(shipped_projects(), DEFAULT_PROJECT)

    def _way(self, project: Project, name: str) -> Way:
        """The config that a file is looked at in: itself, else the first that takes it, else the default with this choice."""
        configs = [config.name for config in project.configs()]
        if name in configs:
            return Way(name)
        known = self._ways.get((project.folder, name))
        if known is not None and _takes(project, known, name):
            return known
        default = project.default_config
        ordered = sorted(configs, key=lambda config: config != default)
        ways = [Way(config) for config in ordered]
        group, _, choice = name.rpartition("/")
        if default is not None and group and not choice.startswith("_"):
            ways.append(Way(default, (f"{group}={choice}",)))
        found = next((way for way in ways if _takes(project, way, name)), Way(name, alone=True))
        self._ways[project.folder, name] = found
        return found

    def composed(self, project: Project, way: Way) -> Composed | None:
        """A config with what is typed in it; where that does not compose, as it was when it last did, or as far as it does."""
        try:
            found = self._compose(project, way)
        except ForgeError:
            return self._last.get((project.folder, way)) or self._mended(project, way)
        self._last[project.folder, way] = found
        return found

    def _mended(self, project: Project, way: Way) -> Composed | None:
        """A config without what is wrong in it; None when nothing is left then."""
        try:
            return compose_fresh(project, way.config, way.overrides, lookups=Lookups(self.unsaved()), problems=[])
        except ForgeError:
            return None

    def _compose(self, project: Project, way: Way) -> Composed:
        texts = self.unsaved()
        if not texts:
            return compose(project, way.config, way.overrides)
        key = (project, way, tuple(sorted((file, content_digest(data)) for file, data in texts.items())))
        kept = self._kept.get(key)
        if kept is None or not Lookups.still_hold(kept.record):
            kept = _compose_with(texts, project, way)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = kept
        if isinstance(kept.composed, ForgeError):
            raise kept.composed
        return kept.composed

    def lookup(self, project: Project, target: str) -> Lookup:
        """What reading the sources says about a target."""
        folders = tuple(folder for folder in project.source_folders if os.path.isdir(folder))
        if time.monotonic() - self._signatures[0] > _SHORT_WHILE:  # they do not look at a file twice
            self._signatures = (time.monotonic(), {})
        signatures = self._signatures[1].setdefault(folders, Signatures(folders))
        found = signatures.lookup(target)
        signatures.save()
        return found

    def named(self, project: Project) -> Named:
        """The targets that the files along a project's search path name."""
        files = tuple(project.files().values())
        state = tuple((file, _state(file)) for file in files)
        if self._named is None or self._named[0] != state:
            named = Named()
            for file in files:
                named.read(file)
            self._named = (state, named)
        return self._named[1]


def _takes(project: Project, way: Way, name: str) -> bool:
    """Whether a config takes a file, as both are on the disk: a line half typed moves no file to another config."""
    try:
        return not way.alone and any(used.config == name for used in compose(project, way.config, way.overrides).files)
    except ForgeError:
        return False


def _compose_with(texts: dict[str, bytes], project: Project, way: Way) -> _Kept:
    """A composition in which some texts count in place of what is on the disk."""
    lookups = Lookups(texts)
    found: Composed | ForgeError
    try:
        found = compose_fresh(project, way.config, way.overrides, lookups=lookups)
    except ForgeError as error:
        found = error
    record = lookups.record()
    record["files"] = {file: digest for file, digest in record["files"].items() if file not in texts}
    return _Kept(found, record)


def _name_of(project: Project, file: str) -> str | None:
    """The name of a file in the search path of a project."""
    for root in project.roots:
        prefix = os.path.join(os.path.abspath(root.folder), "")
        if file.startswith(prefix) and file.endswith(".yaml"):
            return file[len(prefix) :].removesuffix(".yaml").replace(os.sep, "/")
    return None


def _on_disk(file: str) -> bytes | None:
    try:
        return read_bounded(file, MAX_BYTES)
    except ForgeError:
        return None


def _state(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
