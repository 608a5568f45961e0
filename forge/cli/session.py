"""What one line of forge knows: the chosen project and config, and, for one verb, its options and where results go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING

from forge.base.errors import FileError, UsageError
from forge.cli.output import Output, standard_output
from forge.cli.parse import UnknownFlagError, is_override, parse
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from forge.api.config import ConfigHandle
    from forge.api.project import ProjectHandle
    from forge.cli.menu import MenuItem
    from forge.cli.parse import Given, Parsed
    from forge.cli.registry import Registry, Verb
    from forge.cli.workbench import Workbench
    from forge.compose.arguments import Argument

__all__ = ["Context", "Session", "current_folder", "execute", "project_of", "understand", "write_result"]


@dataclass(slots=True)
class Session:
    """The choices that stand before a verb: the global flags of the command line, or the state of a shell.

    ``pick`` asks a person for some of several things, by their positions; without one, `menu.choose` does.
    """

    project: str | None = None
    config: str | None = None
    overrides: tuple[str, ...] = ()
    debug: bool = False
    output: Output = field(default_factory=standard_output)
    verbs: Registry = VERBS
    workbench: Workbench | None = None
    pick: Callable[[str, Sequence[MenuItem]], list[int]] | None = None


class Context:
    """What a verb runs with."""

    def __init__(self, session: Session, verb: Verb, parsed: Parsed) -> None:
        self.session = session
        self.verb = verb
        self.options = SimpleNamespace(**parsed.options)
        self.items = parsed.items
        self.words = parsed.words

    @property
    def output(self) -> Output:
        """The streams to print to."""
        return self.session.output

    @property
    def to_terminal(self) -> bool:
        """Whether the result is for a person's eyes: a terminal, and neither a file nor an editor."""
        options = self.options
        elsewhere = getattr(options, "output", None) is not None or getattr(options, "edit", False)
        return self.output.stream.isatty() and not elsewhere

    @cached_property
    def project(self) -> ProjectHandle:
        """The chosen project, or the one around the current folder."""
        return project_of(self.session)

    @cached_property
    def config(self) -> ConfigHandle:
        """The chosen config with everything the line changes in it."""
        return self.config_with(None, self.items)

    @property
    def in_no_project(self) -> bool:
        """Whether none was chosen and none is around the current folder, so that the project is the one that is part of forge."""
        here = os.path.join(current_folder(), "")
        return self.session.project is None and not here.startswith(os.path.join(self.project.folder, ""))

    @property
    def own_project(self) -> ProjectHandle:
        """The project to write into: looking falls back to the one that is part of forge, writing takes one that was meant."""
        if self.in_no_project:
            raise UsageError(
                "there is no project here", hint="forge new project NAME makes one, -p PROJECT chooses one"
            )
        return self.project

    def config_with(self, name: str | None, items: Iterable[Given]) -> ConfigHandle:
        """A config with the overrides and flags among ``items``; without a name the chosen one, as it is changed by now."""
        changes = [change for item in items if (change := self._change(item)) is not None]
        kept = self.session.overrides if name is None else ()
        return self.project.config(name or self.session.config, *kept, *changes)

    def _change(self, item: Given) -> str | tuple[str, str] | None:
        """What one item changes in the config: an override, for a flag together with what was typed."""
        if item.argument is None:
            return item.text if item.kind == "override" else None
        from forge.compose.arguments import flag_override  # only when a config's flag is used

        return flag_override(item.argument, item.flag, item.text, self.project.groups())

    def emit(self, text: str, name: str, suffix: str) -> None:
        """Hand the result to where the line wants it: ``-o FILE``, ``-e``, both, or the terminal.

        ``name`` and ``suffix`` are those of the temporary file that an editor opens.
        """
        path: str | None = getattr(self.options, "output", None)
        edit: bool = getattr(self.options, "edit", False)
        text = text if text.endswith("\n") else text + "\n"
        if path is not None:
            write_result(path, text)
        if edit:
            from forge.cli.editor import edit_text, open_files  # only with -e

            if path is None:
                edit_text(text, name, suffix)
            else:
                open_files([path])
        elif path is None:
            self.output.write(text, suffix)

    def emit_json(self, value: object, name: str) -> None:
        """Hand a result to programs: JSON with two spaces of indent."""
        import json  # only with --json

        self.emit(json.dumps(value, indent=2, ensure_ascii=False, default=str), name, ".json")


def project_of(session: Session, name: str | None = None) -> ProjectHandle:
    """The project that a session works on, or another one by its folder or name."""
    from forge.api.project import open_project  # `forge --help` needs no project

    current_folder()  # projects are looked for from there
    return open_project(session.project if name is None else name)


def current_folder() -> str:
    """The folder forge was started in; FileError when it has been removed since."""
    try:
        return os.getcwd()
    except OSError as error:
        raise FileError(
            f"the current folder cannot be read: {error.strerror}", hint="change to a folder that is there: cd ~"
        ) from error


def execute(session: Session, words: Sequence[str]) -> int:
    """Run one line, the verb and what follows it, and return its exit code; errors are raised."""
    verb = session.verbs.find(words[0])
    parsed = understand(session, verb, words[1:])
    if parsed.help:
        from forge.cli.help import verb_help  # only with --help

        session.output.write(verb_help(session, verb))
        return 0
    return verb.run(Context(session, verb, parsed))


def understand(session: Session, verb: Verb, words: Sequence[str]) -> Parsed:
    """Parse the words; the config is composed for its flags only when a word is a flag that the verb does not have."""
    try:
        return parse(verb, words)
    except UnknownFlagError as error:
        if not verb.takes_config or error.misplaced:
            raise
    try:
        return parse(verb, words, _arguments(session))
    except UnknownFlagError:
        overrides = tuple(word for word in words if not word.startswith("-") and is_override(word))
        if not overrides:
            raise
    # The choice of a group may bring flags of its own.
    return parse(verb, words, _arguments(session, overrides))


def _arguments(session: Session, overrides: tuple[str, ...] = ()) -> Sequence[Argument]:
    return project_of(session).config(session.config, *session.overrides, *overrides).arguments


def write_result(path: str, text: str) -> None:
    """Write a file that the user named: atomically, or straight into a pipe or device."""
    if os.path.isdir(path) or path.endswith(os.sep):
        raise UsageError(f"{path} is a folder", hint="name a file: -o FILE")
    if os.path.exists(path) and not os.path.isfile(path):
        from forge.base.files import write_through  # only with -o

        write_through(path, text)
        return
    from forge.base.files import write_atomic  # only with -o

    write_atomic(path, text)
