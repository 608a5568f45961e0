"""Messages as they are true in the shell: what the command line is told to write as ``forge VERB`` is ``VERB`` here."""

from __future__ import annotations

from dataclasses import dataclass

from forge.cli.output import Output
from forge.shell.state import SHELL_VERBS

__all__ = ["ShellOutput"]


@dataclass(frozen=True, slots=True)
class ShellOutput(Output):
    """The streams of a shell."""

    def note(self, text: str) -> None:
        """Tell the user something, in the words of the shell."""
        from forge.cli.help import without_program  # most lines have nothing to tell

        Output.note(self, without_program(text, SHELL_VERBS))
