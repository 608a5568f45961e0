"""Composition: the files along a project's search path and the overrides become one `Composed`.

Which configs take part, in which order and under which keys, is decided by Hydra's own defaults-list algorithm; reading
and merging are forge's, on plain data.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Final, cast

from forge.base.errors import ConfigError, ConfigNotFoundError, ConfigSyntaxError, OverrideError
from forge.base.origin import Origin
from forge.compose.arguments import arguments_of
from forge.compose.composed import Composed, UsedFile
from forge.compose.diagnosis import Diagnosis, shortened
from forge.compose.document import ConfigList, ConfigMap, Setting
from forge.compose.lookups import Lookups
from forge.compose.merge import MISSING, embed, merge
from forge.compose.overrides import apply_override, parse_overrides
from forge.compose.project import Root
from forge.compose.reference import is_interpolation, lookup
from forge.compose.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.base.errors import ForgeError
    from forge.compose.overrides import Override
    from forge.compose.project import Project

__all__ = ["compose_fresh"]

_MAX_PROBLEMS: Final = 100


def compose_fresh(
    project: Project,
    name: str,
    overrides: Sequence[str | tuple[str, str]] = (),
    *,
    lookups: Lookups | None = None,
    problems: list[ForgeError] | None = None,
) -> Composed:
    """Compose without looking at any cache.

    With ``problems`` given, mistakes that leave something to go on with are put there instead of being raised.
    """
    lookups = lookups if lookups is not None else Lookups()
    lookups.add_files(project.project_files)
    return _Composer(project, name, lookups, problems).compose(overrides)


class _Composer:
    def __init__(self, project: Project, name: str, lookups: Lookups, problems: list[ForgeError] | None) -> None:
        self.project = project
        self.name = name
        self.lookups = lookups
        self.problems = problems
        self.repository = Repository(project.roots, lookups, problems)

    def compose(self, given: Sequence[str | tuple[str, str]]) -> Composed:
        overrides = [override for override in self._parsed(given) if not _is_hydras_own(override)]
        self.repository.roots = (*self.project.roots, *self._own_search_path())
        overrides = [one for one in overrides if self._attempt(lambda one=one: self._check_choice(one))]
        listed = self._defaults_list(overrides)
        tree = ConfigMap()
        files = []
        for default in listed.defaults:
            self._attempt(lambda default=default: self._lay(tree, default))
            files.append(self._used(default))
        groups = self.repository.group_names()
        applied = {id(parsed) for parsed in listed.config_overrides}
        for override in overrides:
            if id(override.parsed) in applied:
                self._attempt(lambda override=override: apply_override(tree, override, groups, self.lookups.variables))
        tree.pop("hydra", None)
        tree.settings.pop("hydra", None)
        self._attempt(lambda: _apply_argument_defaults(tree))
        return Composed(
            name=self.name,
            project=self.project,
            tree=tree,
            files=tuple(files),
            choices=dict(listed.overrides.known_choices),
            overrides=tuple(override.expression for override in overrides),
            variables=dict(self.lookups.variables),
        )

    def _own_search_path(self) -> list[Root]:
        """The folders of a ``hydra.searchpath`` in the primary config, as Hydra takes them: below the current folder."""
        document = self.repository.document(self.name)
        own = document.tree.get("hydra") if document is not None and isinstance(document.tree, ConfigMap) else None
        if not isinstance(own, ConfigMap) or "searchpath" not in own:
            return []
        folders = own["searchpath"]
        origin = own.settings["searchpath"].origin
        if not (isinstance(folders, list) and all(isinstance(folder, str) for folder in folders)):
            raise ConfigSyntaxError("hydra.searchpath must be a list of folders", origin=origin)
        if any("://" in folder and not folder.startswith("file://") for folder in folders):
            raise ConfigSyntaxError("hydra.searchpath may name folders only, not Python packages", origin=origin)
        here = self.lookups.current_folder()
        paths = (os.path.join(here, folder.removeprefix("file://")) for folder in folders)
        return [Root(os.path.normpath(path), "search path") for path in paths]

    def _check_choice(self, override: Override) -> None:
        """A choice is a name or a list of names; it may read what a choice in a defaults list may, and is noted as read."""
        group, value = override.parsed.key_or_group, override.parsed.value()
        if isinstance(value, dict) or not self.repository.group_exists(group):
            return  # values, not a choice
        if isinstance(value, str):
            if is_interpolation(value):
                self.repository.check_interpolation(value, override.origin)
            return
        names = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if not names and not (override.parsed.is_delete() and value is None):
            raise OverrideError(
                f"{'null' if value is None else repr(value)} is no choice of the group {group!r}",
                origin=override.origin,
                hint=f"choices: {shortened(self.repository.get_group_options(group))}",
            )

    def _parsed(self, given: Sequence[str | tuple[str, str]]) -> list[Override]:
        if self.problems is None:
            return parse_overrides(given)
        found: list[Override] = []
        for one in given:
            self._attempt(lambda one=one: found.extend(parse_overrides([one])))
        return found

    def _attempt(self, step: Any) -> bool:
        """Do one step; a mistake in it is collected when the caller collects, raised otherwise."""
        try:
            step()
        except ConfigError as error:
            if self.problems is None:
                raise
            self.problems.append(error)
            return False
        return True

    def _defaults_list(self, overrides: list[Override]) -> Any:
        """Hydra's defaults list. When mistakes are collected, each is mended in the least way and it is made again."""
        while True:
            try:
                return _hydras_defaults_list(self.repository, self.name, [override.parsed for override in overrides])
            except _hydra_errors() as error:
                problem = Diagnosis(self.repository, self.name, overrides, error)
                if self.problems is None or len(self.problems) > _MAX_PROBLEMS or not problem.mend():
                    raise problem.error from error
                self.problems.append(problem.error)

    def _lay(self, tree: ConfigMap, default: Any) -> None:
        document = self.repository.document(default.config_path)
        if document is None:
            return  # pretended, or optional
        content = document.tree
        if default.package:
            content = embed(content, default.package, Setting(Origin(document.file, 1, 1, _layer_of(content)), content))
        if isinstance(content, ConfigList):
            raise ConfigNotFoundError(
                "this file holds a list, which has no place at the root",
                origin=Origin(document.file, 1),
                hint="write keys, or give it a package: '# @package name'",
            )
        merge(tree, tree, content)

    def _used(self, default: Any) -> UsedFile:
        document = self.repository.document(default.config_path)
        file = document.file if document is not None else ""
        layer = next((root.layer for root in self.project.roots if file.startswith(root.folder + os.sep)), "project")
        return UsedFile(default.config_path, file, default.package or "", default.parent, layer, default.override_key)


def _layer_of(content: ConfigMap | ConfigList) -> Any:
    settings = list(content.settings.values()) if isinstance(content, ConfigMap) else content.settings
    return settings[0].origin.layer if settings else "project"


def _is_hydras_own(override: Override) -> bool:
    """Whether the override is about Hydra's run-time, which forge does not have."""
    return bool(override.parsed.is_hydra_override())


def _hydra_errors() -> tuple[type[Exception], ...]:
    """What Hydra's algorithm raises for a defaults list that makes no sense; for some it fails in its own assertions."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return (HydraException, OmegaConfBaseException, ValueError, AssertionError, RecursionError, OSError)


def _hydras_defaults_list(repository: Repository, name: str, overrides: list[Any]) -> Any:
    import hydra.version
    from hydra._internal.defaults_list import create_defaults_list

    hydra.version.setbase("1.3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on moving from Hydra 1.0 is of no use here
        return create_defaults_list(cast("Any", repository), name, overrides, prepend_hydra=False, skip_missing=False)


def _apply_argument_defaults(tree: ConfigMap) -> None:
    """Set each flag's default where the config leaves its key open."""
    for argument in arguments_of(tree):
        if argument.default is None:
            continue
        *parents, last = argument.key.split(".")
        into: Any = lookup(tree, tuple(parents))
        if isinstance(into, ConfigMap) and into.get(last, MISSING) == MISSING:
            origin = argument.origin._replace(layer="default") if argument.origin else Origin("", layer="default")
            into[last] = argument.default
            into.settings[last] = Setting(origin, argument.default, into.settings.get(last))
