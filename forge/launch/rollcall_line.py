"""The wire of a roll call: the port where the nodes meet, and the messages that go over it."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ToolError
from forge.launch.preflight_reach import answer_of, reach_advice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.launch.address import Endpoint
    from forge.launch.preflight_reach import PortAnswer

__all__ = ["AbsentNodeError", "Deadline", "RollLine", "roll_callers", "roll_line", "roll_listener"]

_MOST: Final = 1 << 16
_REPLY: Final = 10.0  # seconds for one message of somebody who is there
_PAUSE: Final = 0.2
_TOLD: Final = 15.0  # seconds after which it is said again who is waited for


class AbsentNodeError(ToolError):
    """A node did not come: what a later try may cure."""


class Deadline:
    """The time in which nodes have to come; while it passes, it is said again and again who is waited for."""

    def __init__(self, patience: float, waiting: Callable[[float], None]) -> None:
        self._began = self._told = time.monotonic()
        self.patience = patience
        self._waiting = waiting

    @property
    def left(self) -> float:
        """The seconds that are left, at most those until something is to be said."""
        now = time.monotonic()
        if now - self._told >= _TOLD:
            self._told = now
            self._waiting(now - self._began)
        return min(self._began + self.patience, self._told + _TOLD) - now

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._began + self.patience


class RollLine:
    """Messages to and from one node: a JSON object on a line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._file = end.makefile("rb")
        self.wait(_REPLY)
        self.address = str(end.getpeername()[0]).removeprefix("::ffff:")
        self.own = str(end.getsockname()[0]).removeprefix("::ffff:")

    @property
    def lost(self) -> bool:
        """Whether the other end, which has nothing to say now, has gone away."""
        readable, _, _ = select.select([self._end], [], [], 0)
        return bool(readable)

    def wait(self, seconds: float) -> None:
        """How long the next message may take."""
        self._end.settimeout(seconds)

    def send(self, message: dict[str, Any]) -> None:
        """Say something to it."""
        with contextlib.suppress(OSError):  # who has gone away needs no answer
            self._end.sendall(json.dumps(message).encode() + b"\n")

    def take(self) -> dict[str, Any]:
        """What it says; nothing where that is no message, and ToolError where it says nothing in time."""
        try:
            text = self._file.readline(_MOST)
        except OSError as error:
            raise ToolError(f"{self.address} does not answer: {error}") from error
        try:
            found = json.loads(text) if text.endswith(b"\n") else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._end.close()


@contextlib.contextmanager
def roll_listener(endpoint: Endpoint) -> Iterator[socket.socket]:
    """The port where the nodes meet, on the one that hosts it; ToolError when it is taken."""
    try:
        listener = socket.create_server(("", endpoint.port), backlog=128)
    except OSError as error:
        raise ToolError(
            f"port {endpoint.port}, where the nodes should meet, cannot be used: {error.strerror}",
            hint="another run may be there: name a free port, --rdzv-endpoint HOST:PORT",
        ) from error
    with listener:
        yield listener


def roll_callers(listener: socket.socket, deadline: Deadline) -> Iterator[RollLine]:
    """Those who call in time."""
    while not deadline.over:
        listener.settimeout(max(_PAUSE, deadline.left))
        try:
            found, _ = listener.accept()
        except (TimeoutError, BlockingIOError):
            continue
        with contextlib.suppress(OSError):
            yield RollLine(found)


def roll_line(endpoint: Endpoint, deadline: Deadline) -> RollLine:
    """A line to the host; AbsentNodeError when nobody answers there in time."""
    reason = ""
    answer: PortAnswer = "closed"
    while not deadline.over:
        try:
            return RollLine(socket.create_connection(endpoint, timeout=min(_REPLY, max(_PAUSE, deadline.left))))
        except OSError as error:
            reason, answer = error.strerror or str(error), answer_of(error)
        time.sleep(_PAUSE)
    raise AbsentNodeError(
        f"nobody answered at {endpoint} within {deadline.patience:.0f} seconds: {reason}", hint=reach_advice(answer)
    )
