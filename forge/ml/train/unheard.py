"""What a run says where nobody hears it any more: a reader that has gone away, or a log on a full disk, is no reason to lose a training."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["UnheardStream", "speak_unheard"]

_LAST: Final = 2  # the number of the error output


class UnheardStream:
    """A stream like another one, which from its first failed write on leads nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text at once, or drop it."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._lead_nowhere()
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def _lead_nowhere(self) -> None:
        """The descriptor too, for what is still in the stream and for what other languages write."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def speak_unheard() -> None:
    """From now on this process goes on where its output or its error output cannot be written, or is closed."""
    _open_what_is_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
        setattr(sys, name, UnheardStream(stream))


def _open_what_is_closed() -> None:
    """A file that is opened later would get the number of a standard stream, and what other languages print would stand in it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST:
        os.set_inheritable(number, True)
    os.close(number)
