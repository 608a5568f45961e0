"""How the one who starts a run keeps its record: what cannot be written is told once, and the run goes on."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from forge.base.errors import FileError
from forge.base.secrets import masked_override
from forge.control.processes import identity
from forge.control.record import JobRecord, add_record, change_record, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Registration", "register", "this_host"]


class Registration:
    """The record of a run that is being started; without an id it could not be written, and nothing is."""

    def __init__(self, id_: str, warn: Callable[[str], None] | None = None) -> None:
        self.id = id_
        self._warn = warn or _to_stderr

    def keep(self) -> None:
        """From now on this process waits for the run."""
        self._change(keeper=identity(os.getpid()))

    def begun(self, pid: int) -> None:
        """The run is this process."""
        self._change(process=identity(pid))

    def ended(self, code: int | None) -> None:
        """The run has ended; a code above 128 is that of a signal."""
        self._change(ended=moment(), code=code, keeper=None)

    def let_go(self) -> None:
        """This process waits no longer, and does not know how the run ends."""
        self._change(keeper=None)

    def _change(self, **changes: Any) -> None:
        if not self.id:
            return
        try:
            change_record(self.id, **changes)
        except FileError as error:
            self._warn(f"the list of jobs does not show what becomes of {self.id}: {error.what}")


def register(
    *,
    config: str,
    project: str,
    overrides: Sequence[str],
    run_folder: str,
    console: str = "",
    warn: Callable[[str], None] | None = None,
    cluster: dict[str, Any] | None = None,
) -> Registration:
    """Enter a run that is about to start into the list of jobs; this process keeps its record, or nobody where a cluster has the run."""
    own = identity(os.getpid()) if cluster is None else None
    record = JobRecord(
        config=config,
        project=project,
        overrides=tuple(map(masked_override, overrides)),
        run=os.path.abspath(run_folder),
        console=os.path.abspath(console) if console else "",
        host=this_host(),
        user=_user(),
        started=moment(),
        starter=own,
        keeper=own,
        cluster=cluster,
    )
    try:
        return Registration(add_record(record).id, warn)
    except FileError as error:
        (warn or _to_stderr)(f"this run is not in the list of jobs: {error.what}")
        return Registration("", warn)


def this_host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that nobody has given a name
        return str(os.getuid())


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
