"""``forge cp``: a config of the library, or of what the project stands on, as the project's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.base.errors import ConfigNotFoundError, FileError, UsageError
from forge.cli.options import EDIT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_SUFFIX: Final = ".yaml"
_LIMIT: Final = 1 << 20


def _run(context: Context) -> int:
    from forge.base.files import make_folder, read_bounded, write_atomic  # `forge --help` copies nothing
    from forge.base.origin import shown_path

    given, target = context.words
    name = given.removesuffix(_SUFFIX).strip("/")
    source = _source(context, name)
    file = _target(name, target)
    if os.path.lexists(file):
        if os.path.realpath(file) == os.path.realpath(source):
            raise UsageError(f"{shown_path(file)} is that config itself", hint="name another folder")
        if not context.options.force:
            raise FileError(f"{shown_path(file)} is there already", hint="add --force to replace it")
    text = read_bounded(source, _LIMIT).decode()
    make_folder(os.path.dirname(file))
    write_atomic(file, _with_remark(text, name, source))
    context.output.write(shown_path(file))
    if context.options.edit:
        from forge.cli.editor import open_files  # only with -e

        open_files([file])
    return 0


def _source(context: Context, name: str) -> str:
    """The file of this name along the search path, leaving out the project's own configs, which are home already."""
    from dataclasses import replace

    from forge.base.spelling import did_you_mean  # as in _run

    project = context.project.project
    files = replace(project, roots=project.roots[1:]).files()
    if name in files:
        return files[name]
    if os.path.isfile(os.path.join(project.config_folder, name + _SUFFIX)):
        raise UsageError(
            f"{name} is a config of the project {project.name} itself", hint="`forge save-as` makes another one of it"
        )
    raise ConfigNotFoundError(
        f"there is no config {name!r} in the library",
        hint=did_you_mean(name, list(files))
        or "write it like optimizer/adamw; the choices of a group are listed by its help",
    )


def _target(name: str, target: str) -> str:
    """The file to write: below the configs of a project, below any other folder, or the one that is named."""
    if target.endswith(_SUFFIX):
        return target
    if not os.path.isdir(target):
        raise UsageError(
            f"there is no folder {target!r}", hint="name a project's folder, any other, or a file that ends with .yaml"
        )
    from forge.compose.project import PROJECT_FILE  # as in _run

    configs = [target, "configs"] if os.path.isfile(os.path.join(target, PROJECT_FILE)) else [target]
    return os.path.normpath(os.path.join(*configs, name + _SUFFIX))


def _with_remark(text: str, name: str, source: str) -> str:
    """The text with a line that says where it came from, below the comment that `forge ls` shows."""
    from forge import __version__  # as in _run
    from forge.base.places import library_configs

    library = os.path.join(os.path.realpath(library_configs()), "")
    place = f"forge's library (version {__version__})" if os.path.realpath(source).startswith(library) else source
    lines = text.splitlines(keepends=True)
    head = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    remark = f"# Copied from {name} of {place}; in this project it takes that one's place.\n"
    return "".join([*lines[:head], "\n" if head else "", remark, *lines[head:]])


VERB = Verb(
    name="cp",
    summary="take a config of the library home, to change it there",
    help="""\
Copy a config that the project takes from the library (or from another folder on its search path) into a folder. Where that is a
project's, the copy goes into its configs, where it takes the place of the one it was made from. A comment in it says where it came
from. A file that is there already is replaced with --force only.

  forge cp optimizer/adamw .
  forge cp model/llama3.1_8b . --edit
  forge cp trainer/default ../shared/configs --force
""",
    run=_run,
    options=(Option(("--force",), "replace a file that is there already"), EDIT),
    positionals=(
        Positional("CONFIG", "a choice of a group, like optimizer/adamw", completes="config"),
        Positional("DST", "a project's folder, another folder, or a .yaml file", completes="file"),
    ),
)
