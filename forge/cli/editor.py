"""Opens files in the user's editor: the one they sit in when that can be told, otherwise the one they named.

In order: VS Code reached through a remote session, VS Code around this terminal, a running vim server, ``$VISUAL`` or
``$EDITOR``.
"""

from __future__ import annotations

import os
import shutil
from glob import glob
from typing import TYPE_CHECKING, NamedTuple

from forge.base.errors import ToolError
from forge.base.files import write_temporary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Editor", "edit_text", "find_editor", "named_file", "open_files", "vscode_around"]

_REMOTE = (
    "~/.vscode-server/bin/*/bin/remote-cli/code",
    "~/.vscode-server/cli/servers/*/server/bin/remote-cli/code",
)


class Editor(NamedTuple):
    """The command that opens files; their paths are appended."""

    command: tuple[str, ...]
    name: str


def find_editor(environ: Mapping[str, str]) -> Editor:
    """The editor to use in this environment; raises ToolError when there is none."""
    search = environ.get("PATH")
    if (around := vscode_around(environ)) is not None:
        return around
    server = environ.get("VIM_SERVERNAME")
    if server and (vim := shutil.which("vim", path=search)):
        return Editor((vim, "--servername", server, "--remote-tab-silent"), f"vim server {server}")
    for variable in ("VISUAL", "EDITOR"):
        if text := environ.get(variable, "").strip():
            return _named_editor(variable, text, search)
    raise ToolError("no editor is known", hint="set EDITOR, for example: export EDITOR=vim")


def vscode_around(environ: Mapping[str, str]) -> Editor | None:
    """The VS Code that this terminal belongs to, local or at the other end of a remote session; None outside of it."""
    if environ.get("VSCODE_IPC_HOOK_CLI") and (remote := _newest_remote(environ)):
        return Editor((remote, "--reuse-window"), "VS Code (remote)")
    if environ.get("TERM_PROGRAM") == "vscode" and (code := shutil.which("code", path=environ.get("PATH"))):
        return Editor((code, "--reuse-window"), "VS Code")
    return None


def open_files(paths: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Open the files in the user's editor and wait for it when it stays in the terminal."""
    import subprocess  # only those who open an editor pay for it

    environ = os.environ if environ is None else environ
    editor = find_editor(environ)
    finished = subprocess.run([*editor.command, *paths], env=dict(environ), check=False)  # noqa: S603 - the user's own editor
    if finished.returncode:
        raise ToolError(f"the editor ({editor.name}) failed with exit code {finished.returncode}")


def edit_text(text: str, name: str, suffix: str) -> str:
    """Write a text to a temporary file whose suffix tells the editor its language, open it, and return its path."""
    path = named_file(text, name, suffix)
    open_files([path])
    return path


def named_file(text: str, name: str, suffix: str) -> str:
    """A new temporary file with the text, named after what it shows.

    The file stays: a program that does not wait is still reading it.
    """
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return write_temporary(f"{plain}{suffix}", text)


def _newest_remote(environ: Mapping[str, str]) -> str | None:
    home = environ.get("HOME") or os.path.expanduser("~")
    found = [path for pattern in _REMOTE for path in glob(home + pattern.removeprefix("~")) if os.access(path, os.X_OK)]
    return max(found, key=os.path.getmtime, default=None)


def _named_editor(variable: str, text: str, search: str | None) -> Editor:
    import shlex

    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words or shutil.which(words[0], path=search) is None:
        raise ToolError(f"${variable} is {text!r}, and that is not a program", hint=f"correct {variable}")
    return Editor(tuple(words), words[0])
