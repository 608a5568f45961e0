"""What a run says where nobody hears it any more: a reader that has gone away, or a log on a full disk, is no reason to lose a training."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["UnheardStream", "speak_unheard"]


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
    """From now on this process goes on where its output or its error output cannot be written."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            setattr(sys, name, UnheardStream(stream))
