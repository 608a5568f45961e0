"""How quick the way to another host is: the time there and back, and the bytes of a second, over plain TCP and within a second.

The other end is a `SpeedListener`, which knows its callers by a token and does nothing with what they send but count it.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.launch.preflight_reach import answer_of

if TYPE_CHECKING:
    from forge.launch.address import Endpoint
    from forge.launch.preflight_reach import PortAnswer

__all__ = ["LinkSpeed", "SpeedListener", "measure_link"]

_PATIENCE: Final = 4.0
_TOKEN: Final = 64
_ROUNDS: Final = 20
_PIECE: Final = 1 << 18
_MOST: Final = 64 << 20
_SECONDS: Final = 1.0
_PING: Final = b"p"
_SINK: Final = b"s"
_COUNT: Final = 8
_CALLERS: Final = 64


class LinkSpeed(NamedTuple):
    """How a port answered, and if it did, the seconds there and back and the bytes of a second, None if not asked for.

    ``known`` is whether who answered knew the token; ``stalled`` that small messages come through and large ones do not.
    """

    answer: PortAnswer
    latency: float = 0.0
    bandwidth: float | None = None
    known: bool = False
    stalled: bool = False
    own: str = ""
    detail: str = ""


class SpeedListener:
    """Counts what callers who know the token send, until it is closed; OSError where the port is taken."""

    def __init__(self, token: str, port: int = 0) -> None:
        self._token = token.encode()
        self._socket = socket.create_server(("", port), backlog=_CALLERS)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        # A thread that waits in accept() is not woken by the close alone.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_PATIENCE)

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            caller.settimeout(_PATIENCE)
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _read(caller, _TOKEN) != self._token.ljust(_TOKEN):
                return
            while (word := caller.recv(1)) == _PING:
                caller.sendall(word)
            if word == _SINK:
                caller.sendall(_drain(caller).to_bytes(_COUNT, "big"))


def measure_link(endpoint: Endpoint, token: str, *, bandwidth: bool = True, patience: float = _PATIENCE) -> LinkSpeed:
    """Knock at a listener's port and measure the way to it."""
    try:
        end = socket.create_connection(endpoint, timeout=patience)
    except OSError as error:
        return LinkSpeed(answer_of(error), detail=error.strerror or str(error))
    with end:
        own = str(end.getsockname()[0])
        try:
            latency = _ping(end, token)
        except OSError as error:
            return LinkSpeed("open", own=own, detail=error.strerror or str(error))
        found = LinkSpeed("open", latency, known=True, own=own)
        if not bandwidth:
            return found
        try:
            return found._replace(bandwidth=_pour(end))
        except OSError as error:
            return found._replace(stalled=True, detail=error.strerror or str(error))


def _ping(end: socket.socket, token: str) -> float:
    """The seconds there and back, the median of several."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.sendall(token.encode().ljust(_TOKEN))
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        end.sendall(_PING)
        if end.recv(1) != _PING:
            raise ConnectionResetError("it does not know the token")
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _pour(end: socket.socket) -> float:
    """The bytes of a second, as counted by the other end."""
    piece = bytes(_PIECE)
    end.sendall(_SINK)
    sent, began = 0, time.perf_counter()
    while sent < _MOST and time.perf_counter() - began < _SECONDS:
        end.sendall(piece)
        sent += len(piece)
    end.shutdown(socket.SHUT_WR)
    counted = int.from_bytes(_read(end, _COUNT), "big")
    return counted / max(time.perf_counter() - began, 1e-6)


def _read(end: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := end.recv(size - len(found))):
        found += piece
    if len(found) < size:
        raise ConnectionResetError("it hung up")
    return found


def _drain(caller: socket.socket) -> int:
    counted = 0
    while piece := caller.recv(_PIECE):
        counted += len(piece)
    return counted
