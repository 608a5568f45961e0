"""A console for a process that nobody sees: what it says goes to standard error, what it is busy with to who asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from forge.ml.line_console import LineConsole

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["SpokenConsole"]

_PAUSE: Final = 0.1  # seconds between two things that are told


class SpokenConsole(LineConsole):
    """Prints lines as a run does, and hands each status on as a text."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__()
        self._progress = progress

    def status(self, status: Any, **_: Any) -> Any:
        """What is shown while something goes on."""
        return _Status(self._progress, str(status))


class _Status:
    """Tells what goes on, though not more often than people read."""

    def __init__(self, progress: Callable[[str], None], text: str) -> None:
        self._progress, self._text, self._told = progress, text, 0.0

    def __enter__(self) -> Self:
        self.update(self._text)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress("")

    def update(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told >= _PAUSE:
            self._told = now
            self._progress(text)
