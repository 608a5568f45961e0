"""``forge edit``: open the files of a config, or others of its project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.cli.menu import MenuItem, agreed, at_a_terminal, choose, is_numbers, positions
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.behind import FileBehind
    from forge.cli.session import Context

__all__ = ["VERB"]

_SUFFIX = ".yaml"
_TEMPLATE = ".jinja"


def _run(context: Context) -> int:
    from forge.cli.editor import open_files  # `forge --help` opens no editor

    chosen = _named(context) if context.words else _offered(context)
    if context.options.list:
        context.output.write("\n".join(chosen))
    elif chosen:
        open_files(chosen)
    return 0


def _behind(context: Context) -> list[FileBehind]:
    from forge.cli.behind import files_behind  # a file that is named needs no config

    return files_behind(context.config)


# ---- without a name


def _offered(context: Context) -> list[str]:
    """All files, those that a person picks, or, where nobody can be asked, the project's own."""
    from forge.cli.behind import OWN

    behind = _behind(context)
    if context.options.all:
        return [one.path for one in behind]
    if len(behind) > 1 and not context.options.list and at_a_terminal(context.output):
        items = [MenuItem(one.group, one.name) for one in behind]
        title = f"files of {context.config.name} to open"
        pick = context.session.pick
        picked = choose(context.output, title, items) if pick is None else pick(title, items)
        return [behind[position].path for position in picked]
    return [one.path for one in behind if one.group == OWN] or [behind[0].path]


# ---- by name


def _named(context: Context) -> list[str]:
    """The files that the words name: numbers of the list, paths, or names as the list shows them."""
    if context.options.all:
        raise UsageError("--all leaves nothing to name", hint="forge edit --all, or forge edit FILE ...")
    found: dict[str, None] = {}
    for word in context.words:
        if is_numbers(word):
            behind = _behind(context)
            found |= dict.fromkeys(behind[position].path for position in positions(word, len(behind)))
        else:
            found[_file(context, word)] = None
    return list(found)


def _file(context: Context, word: str) -> str:
    if os.path.isdir(word):
        raise UsageError(f"{word} is a folder", hint="name a file, or `forge edit` for the list")
    if os.path.isfile(word):
        return os.path.abspath(word)
    name = word.removesuffix(_SUFFIX)
    for root in context.project.project.roots:
        if os.path.isfile(path := os.path.join(root.folder, name + _SUFFIX)) and not os.path.isabs(word):
            return path
    behind = _behind(context)
    ends = {f"/{name}{suffix}" for suffix in ("", _SUFFIX, _TEMPLATE)}
    matching = [one for one in behind if any(f"/{one.name}".endswith(end) for end in ends)]
    if len(matching) > 1:
        raise UsageError(f"{word!r} may be {' or '.join(one.name for one in matching)}", hint="write more of its name")
    return matching[0].path if matching else _made(context, word, [one.name for one in behind])


def _made(context: Context, word: str, known: list[str]) -> str:
    """A file of the project's configs that is not there yet, once the user has said that there is to be one."""
    from forge.base.spelling import did_you_mean
    from forge.cli.scaffold import new_config_or_choice
    from forge.compose.new_file import new_config_file

    if "." in os.path.basename(word) and not word.endswith(_SUFFIX):
        raise UsageError(
            f"there is no file {word!r}", hint=did_you_mean(word, known) or "`forge edit` lists what there is"
        )
    project = context.own_project
    below = os.path.relpath(os.path.abspath(word), project.project.config_folder)
    made = new_config_file(project.project, word if below.startswith(os.pardir) else below, choices_too=True)
    if not context.options.create:
        question = f"there is no {shown_path(made.file)}; make it?"
        if not at_a_terminal(context.output):
            hint = did_you_mean(word, known) or f"--create makes {shown_path(made.file)}"
            raise UsageError(f"there is no file {word!r}", hint=hint)
        if not agreed(context.output, question):
            raise UsageError(f"there is no file {word!r}", hint="`forge edit` lists what there is")
    return new_config_or_choice(project, made, context.session.config)


VERB = Verb(
    name="edit",
    summary="open the files of the config in your editor",
    help="""\
Open files in your editor: VS Code when the terminal belongs to it, a vim server when VIM_SERVERNAME names one, otherwise
$VISUAL or $EDITOR.

Without a word, a terminal gets the list of files behind the config, by groups: the project's own, those of other projects,
the library's, and the chat templates that it names. Numbers, like 1-3,7, choose from it. Without a terminal the project's
own files are opened; --all opens every file of the list, --list prints paths in place of opening them.

FILE is a number of the list, a path, or a config or choice by its name. A file below the project's configs that is not there
is made when you say so, or with --create: a config that stands on the chosen one, or an empty choice of a group.

  forge edit
  forge -t pretrain/tiny edit 1-3,7
  forge edit optimizer/adamw chatml
  forge edit --create pretrain/longer
""",
    run=_run,
    options=(
        Option(("--all",), "every file: the library's, those of other projects, and chat templates too"),
        Option(("--list",), "print the files in place of opening them"),
        Option(("--create",), "make a FILE that is not there, below the project's configs"),
    ),
    positionals=(Positional("FILE", "a file by its number, path or name", least=0, most=None, completes="source"),),
    takes_config=True,
)
