"""The two pipes to the process that asks: requests come in, answers and news go out, and nothing else ever does."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from forge.base.frames import FrameReader, frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Channel"]

_AT_ONCE: Final = 1 << 16
_GRACE: Final = 5.0  # seconds that a request has to end once nobody is there to hear of it


class Channel:
    """Takes over standard input and output for messages; what libraries print goes to standard error from then on.

    A message ``{"interrupt": N}`` raises KeyboardInterrupt in the main thread while that works on request N, and at no other time:
    neither between two requests nor in the middle of a message.
    """

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.dup2(2, 1)
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._number: Any = None  # of the request that is worked on
        self._interrupted: Any = None
        self._gone = False
        self._sending = False
        self._main = threading.get_ident()
        signal.signal(signal.SIGINT, self._on_signal)
        threading.Thread(target=self._read, name="forge-workbench-reader", daemon=True).start()

    def requests(self) -> Iterator[dict[str, Any]]:
        """Each request, until no more can come."""
        while (request := self._requests.get()) is not None:
            yield request

    @contextmanager
    def working_on(self, number: Any) -> Iterator[None]:
        """Inside it an interrupt of this request raises KeyboardInterrupt."""
        self._number = number
        try:
            self._raise_if_interrupted()
            yield
        finally:
            self._number = None

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message whole; where nobody reads any more, nothing happens."""
        self._sending = True
        try:
            data = memoryview(frame(message))
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            pass
        finally:
            self._sending = False
        self._raise_if_interrupted()

    def progress(self, text: str) -> None:
        """Tell how far the request is."""
        self.send({"number": self._number, "progress": text})

    def _raise_if_interrupted(self) -> None:
        if self._number is not None and (self._gone or self._interrupted == self._number):
            self._number = None  # once
            raise KeyboardInterrupt

    def _on_signal(self, *_: object) -> None:
        if not self._sending:  # else `send` looks when it is done
            self._raise_if_interrupted()

    def _read(self) -> None:
        """Read messages in a thread of its own, so that an interrupt is heard while a request is worked on."""
        reader = FrameReader()
        try:
            while data := os.read(self._in, _AT_ONCE):
                for message in reader.feed(data):
                    if "interrupt" in message:
                        self._interrupted = message["interrupt"]
                        signal.pthread_kill(self._main, signal.SIGINT)
                    else:
                        self._requests.put(message)
        except ValueError as error:
            sys.stderr.write(f"the workbench was sent what is no request: {error}\n")
        except OSError:
            pass  # as at the end
        self._gone = True
        self._requests.put(None)
        signal.pthread_kill(self._main, signal.SIGINT)
        # What is worked on now has nobody to go to.
        end = threading.Timer(_GRACE, os._exit, (1,))
        end.daemon = True
        end.start()
