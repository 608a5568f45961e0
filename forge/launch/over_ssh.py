"""A line of forge on another machine: what it says is said here, and its exit code is ours."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Final

from forge.base.errors import ToolError, UsageError
from forge.launch.hosts import SSH
from forge.launch.process import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["line_there", "run_there"]

_UNREACHED: Final = 255  # ssh's own exit code


def line_there(host: str, words: Sequence[str], folder: str, *, terminal: bool = False) -> list[str]:
    """What runs a line of forge on a host: by the same interpreter if it is there, else by the forge on its PATH.

    It begins in ``folder`` where the host has that, so that paths mean the same on a shared disk.
    """
    if not host or host.startswith("-") or any(mark.isspace() for mark in host):
        raise UsageError(f"{host!r} is no host: a name without spaces that does not begin with a dash")
    python = shlex.quote(sys.executable)
    script = (
        f"cd {shlex.quote(folder)} 2> /dev/null; "
        f"if [ -x {python} ]; then exec env PYTHONSAFEPATH=1 {python} -m forge {shlex.join(words)}; "
        f"else exec forge {shlex.join(words)}; fi"
    )
    reach = [word for word in SSH if word != "-T"] if terminal else list(SSH)
    return [*reach, *(["-t"] if terminal else []), host, f"exec sh -c {shlex.quote(script)}"]


def run_there(host: str, words: Sequence[str], folder: str, *, terminal: bool = False) -> int:
    """Run a line of forge on a host, and return its exit code; ToolError when ssh does not get there."""
    try:
        code = run_command(line_there(host, words, folder, terminal=terminal))
    except FileNotFoundError as error:
        raise ToolError("ssh is not here", hint="install openssh's client") from error
    if code == _UNREACHED:
        raise ToolError(
            f"ssh does not reach {host}, or has lost it", hint=f"`ssh {host} true` has to work without a password"
        )
    return code
