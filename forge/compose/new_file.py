"""Where a config file that is not there yet goes: into the project's own configs folder, and nowhere else."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.compose.project import ConfigFile

if TYPE_CHECKING:
    from forge.compose.project import Project

__all__ = ["new_config_file"]

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)*\Z")
_SUFFIX: Final = ".yaml"


def new_config_file(project: Project, given: str, *, choices_too: bool = False) -> ConfigFile:
    """The name and the file of a config that a user wants to have; UsageError for one that would be no config there.

    ``choices_too`` takes a choice of a group as well.
    """
    name = given.removesuffix(_SUFFIX)
    if not _NAME.match(name):
        raise UsageError(f"{given!r} cannot be the name of a config", hint="write it like tiny or pretrain/tiny")
    group = name.partition("/")[0]
    if "/" in name and not choices_too and group in project.groups():
        raise UsageError(
            f"{group!r} is a config group, so {name!r} would be a choice of it", hint="choose another folder"
        )
    folder = project.config_folder
    file = os.path.join(folder, name + _SUFFIX)
    if not os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), "")):
        raise UsageError(f"{shown_path(file)} leads out of the project's configs", hint="choose another name")
    return ConfigFile(name, file)
