"""The shell's workbench: one process with torch that stays from request to request, while what it has imported is current.

A module is imported once in a process. So where the code of a project, or of forge itself, is not what it was when the process
began to use it, or where another project's code is wanted, a new process is started.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import forge
from forge.base.errors import TrustError
from forge.base.trust import folder_digest
from forge.launch.workbench import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.launch.workbench import Answer, Listener, Request

__all__ = ["WarmWorkbench"]


class WarmWorkbench:
    """Starts a process with the first request, and keeps it until `close`."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._forge: Mapping[str, tuple[int, int]] = {}
        self._sources: Mapping[str, str] = {}

    def start(self, source_folders: Sequence[str]) -> None:
        """See to a process whose imports are current."""
        sources = {os.path.realpath(folder): _digest(folder) for folder in source_folders}
        files = _package_files()
        worker = self._worker
        outdated = files != self._forge or (sources and self._sources and sources != self._sources)
        if worker is not None and (outdated or not worker.alive):
            self.close()
        if self._worker is None:
            self._worker, self._forge, self._sources = Worker(), files, {}
        self._sources = sources or self._sources

    def ask(self, request: Request, listener: Listener) -> Answer:
        """Wait for the answer to a request."""
        if self._worker is None:
            raise AssertionError("start comes first")
        return self._worker.ask(request, listener)

    def end(self) -> None:
        """The process stays for the next line."""

    def close(self) -> None:
        """End the process."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _digest(folder: str) -> str:
    try:
        return folder_digest(folder)
    except TrustError as error:  # and then nothing is imported from there
        return str(error)


def _package_files() -> dict[str, tuple[int, int]]:
    """When each file of forge was changed, and its size."""
    found = {}
    for folder, _, names in os.walk(os.path.dirname(forge.__file__)):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                status = os.stat(path)
                found[path] = (status.st_mtime_ns, status.st_size)
    return found
