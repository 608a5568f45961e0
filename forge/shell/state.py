"""What the shell works on: a project, a config and the changes to it that are not written yet, with undo and redo."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import ForgeError, UsageError
from forge.cli.registry import Registry
from forge.cli.session import Session, current_folder, project_of
from forge.shell.workbench import WarmWorkbench

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["SHELL_VERBS", "Choice", "ShellSession", "shell_session"]

SHELL_VERBS: Final = Registry("forge.cli.verbs", "forge.shell.verbs")
"""What can be typed in the shell: the command line's verbs, and those that change the shell's state."""


class Choice(NamedTuple):
    """What every line works on: the current folder, the project, the config, and the overrides on it."""

    folder: str
    project: str | None = None
    config: str | None = None
    overrides: tuple[str, ...] = ()


class _Place(NamedTuple):
    folder: str
    config: str | None


@dataclass(slots=True)
class ShellSession(Session):
    """The session of a shell: it outlives a line, and each change of the choice can be taken back."""

    verbs: Registry = SHELL_VERBS
    workbench: WarmWorkbench = field(default_factory=WarmWorkbench)
    past: list[Choice] = field(default_factory=list)
    future: list[Choice] = field(default_factory=list)
    leaving: bool = False

    @property
    def choice(self) -> Choice:
        """The choice as it is now."""
        return Choice(current_folder(), self.project, self.config, self.overrides)

    def choose(self, choice: Choice) -> None:
        """Make another choice; `undo` comes back to this one."""
        before = self.choice
        if choice != before:
            self._take(choice)
            self._remember(before)

    def turn_to(self, folder: str, project: str | None, config: str | None = None) -> None:
        """Choose where to work: config and overrides stay with the project and config they were chosen for, and that is said."""
        before, place = self.choice, self._place
        self._take(Choice(folder, project, config))
        if config is None and self._place.folder == place.folder:
            self.config = before.config
        if self._place == place:
            self.overrides = before.overrides
        elif left := len(before.overrides):
            self.output.note(f"{left} pending change{'s' * (left > 1)} stayed behind; `undo` brings them back")
        if self.choice != before:
            self._remember(before)

    def _remember(self, before: Choice) -> None:
        self.past.append(before)
        self.future.clear()

    @property
    def _place(self) -> _Place:
        """The project and the config that the lines work on, also where nothing was chosen."""
        try:
            project = project_of(self)
        except ForgeError:  # there is none: what is set belongs to the folder
            return _Place(current_folder(), self.config)
        return _Place(project.folder, self.config or project.project.default_config)

    def undo(self) -> None:
        """Go back to the choice before."""
        self._step(self.past, self.future, "there is nothing to undo")

    def redo(self) -> None:
        """Make the choice again that was undone last."""
        self._step(self.future, self.past, "there is nothing to redo")

    def _step(self, source: list[Choice], other: list[Choice], nothing: str) -> None:
        if not source:
            raise UsageError(nothing)
        now = self.choice
        self._take(source[-1])
        source.pop()
        other.append(now)

    def _take(self, choice: Choice) -> None:
        if choice.folder != current_folder():
            os.chdir(choice.folder)
        self.project, self.config, self.overrides = choice.project, choice.config, choice.overrides

    def settle(self) -> None:
        """Hold on to the project by its folder, since the current folder may change; an unknown config is an error."""
        if self.project is not None or self.config is not None:
            handle = project_of(self)
            self.project = handle.folder if self.project is not None else None
            self.config = handle.project.config_name(self.config) if self.config is not None else None

    @property
    def project_name(self) -> str:
        """The name of the project; empty where there is none."""
        try:
            return project_of(self).name
        except ForgeError:
            return ""

    @property
    def where(self) -> str:
        """The project, the config and how much is set, in one line."""
        try:
            project = project_of(self)
        except ForgeError as error:
            return str(error).splitlines()[0]
        config = self.config or project.project.default_config or "none"
        pending = f", {len(self.overrides)} pending" if self.overrides else ""
        return f"project {project.name}, config {config}{pending}"

    @property
    def prompt(self) -> str:
        """``forge:samantha [llama2_7b/1gpu_default.yaml]> ``, without the parts that nothing was chosen for."""
        project = f":{name}" if (name := self.project_name) else ""
        config = f" [{self.config.removesuffix('.yaml')}.yaml]" if self.config else ""
        return f"forge{project}{config}> "


def shell_session(context: Context) -> ShellSession:
    """The shell that a verb runs in."""
    if not isinstance(context.session, ShellSession):
        raise UsageError(
            f"{context.verb.name} changes what the shell works on, not one line",
            hint="write it without flags before it",
        )
    return context.session
