"""The connection itself: uvicorn's protocol, with an end to each kind of waiting.

A server that reads until a client has said all it wants waits for ever on one that says nothing. Here a request's head, its
body, and the client's reading each have a time; what takes longer is cut off.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["Deadlines", "deadline_protocol"]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a client has: for the head of a request, for all of it, and for reading what waits for it."""

    head: float = 10.0
    body: float = 30.0
    reading: float = 60.0
    buffer: int = 256 << 10


def deadline_protocol(deadlines: Deadlines) -> type[H11Protocol]:
    """The class that uvicorn is to use for connections."""

    class Bound(_DeadlineProtocol):
        times = deadlines

    return Bound


class _DeadlineProtocol(H11Protocol):
    """One connection. A timer runs whenever it is the client's turn."""

    times = Deadlines()
    _arriving: asyncio.TimerHandle | None = None
    _phase = ""
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=self.times.buffer)
        connection = transport.get_extra_info("socket")
        if connection is not None:  # the system, too, would keep megabytes for one who does not read
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.times.buffer)
        self._await("head", self.times.head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._await("", None)
        self._stop_reading()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self._phase != "body":  # the time for the head is part of the time for all
                self._await("body", self.times.body)
        elif state is h11.IDLE:
            if self._phase != "head":
                self._await("head", self.times.head)
        else:
            self._await("", None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self._await("head", self.times.head)
        elif self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.pause_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._start_reading()  # it closes when all is read, which may be never

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reading()

    def _await(self, phase: str, seconds: float | None) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
        self._phase = phase
        self._arriving = None if seconds is None else self.loop.call_later(seconds, self._cut)

    def _start_reading(self) -> None:
        if self._reading is None:
            self._reading = self.loop.call_later(self.times.reading, self._cut)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()
