"""Shows a picture or a page in the program that the system has for it, without waiting for that program."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Final

from forge.base.errors import ToolError
from forge.cli.editor import Editor, vscode_around

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["find_opener", "open_in_background"]

_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")


def find_opener(environ: Mapping[str, str], platform: str = sys.platform) -> Editor:
    """What opens a file here: VS Code around this terminal, otherwise the desktop; ToolError where there is neither."""
    if (around := vscode_around(environ)) is not None:
        return around
    if platform != "darwin" and not any(environ.get(name) for name in _DISPLAYS):
        raise ToolError("there is no display to open it on")
    name = "open" if platform == "darwin" else "xdg-open"
    program = shutil.which(name, path=environ.get("PATH"))
    if program is None:
        raise ToolError(f"there is no program {name} to open it with")
    return Editor((program,), name)


def open_in_background(path: str, environ: Mapping[str, str] | None = None) -> Editor:
    """Start the system's program for a file and come back at once."""
    import subprocess  # only those who open something pay for it
    from threading import Thread

    environ = os.environ if environ is None else environ
    opener = find_opener(environ)
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own desktop
            [*opener.command, os.path.abspath(path)],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{opener.name} cannot be started: {error.strerror}") from error
    # Somebody has to ask for its end, or it stays as a zombie for as long as a shell lives.
    Thread(target=process.wait, name="forge-opener", daemon=True).start()
    return opener
