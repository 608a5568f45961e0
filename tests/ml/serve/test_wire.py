from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Running

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
from forge.ml.serve.wire import Deadlines, deadline_protocol

FULL = bool(os.environ.get("FORGE_FULL"))
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def _seconds_until_closed(connection: socket.socket, trickle: bytes = b"") -> float:
    began = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() - began < 20:
        try:
            if trickle:
                connection.sendall(trickle)
            if connection.recv(4096) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("first", "trickle", "least", "most"),
    [
        (b"", b"", 0.2, 1.5),
        (b"GET /health HT", b"", 0.2, 1.5),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n", b"a", 0.2, 1.5),
        (HEAD + b"content-length: 1000\r\n\r\n{", b"", 0.4, 2.0),
        (HEAD + b"content-length: 1000\r\n\r\n{", b" ", 0.4, 2.0),
    ],
    ids=["no bytes", "half a head", "a head that never ends", "no body", "a body that never ends"],
)
def test_a_client_that_does_not_finish_is_closed(
    hasty: Running, first: bytes, trickle: bytes, least: float, most: float
) -> None:
    with hasty.connect() as connection:
        connection.sendall(first)
        assert least < _seconds_until_closed(connection, trickle) < most


def test_a_kept_connection_is_closed_too(hasty: Running) -> None:
    with hasty.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert _seconds_until_closed(connection, b"a") < 1.5


def test_a_client_that_does_not_read_is_closed_and_holds_no_slot(hasty: Running, until: Callable[..., None]) -> None:
    body = json.dumps({"prompt": "0123456789" * 300, "max_tokens": 1000, "n": 8, "stream": True}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", hasty.port))
        connection.sendall(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: hasty.engine.load.running > 0)
        until(lambda: hasty.engine.load.running == 0, 10)
        end = time.monotonic() + 10
        while b"forge_clients_gone_total 0" in hasty.ask("GET", "/metrics").content:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_request_that_takes_long_to_answer_is_not_cut_off(hasty: Running) -> None:
    hasty.engine._tick = 0.02
    try:
        found = hasty.ask("POST", "/v1/completions", {"prompt": "ab", "max_tokens": 40})
    finally:
        hasty.engine._tick = 0.0002
    assert len(found.json["choices"][0]["text"]) == 40


def test_a_slow_crowd_is_closed_and_does_not_slow_down_the_others(
    begin_server: Callable[..., Running],
    make_engine: Any,
    until: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    count = 500 if FULL else 80
    deadlines = Deadlines(buffer=8192) if FULL else Deadlines(head=1.2, body=1.8, reading=2.0, buffer=8192)
    server = begin_server(make_engine(slots=count), deadlines=deadlines)
    # At full size beside a server of its own process, asked in turn: what else the machine does slows down both.
    left_alone = request.getfixturevalue("real_server") if FULL else server
    (alone,) = _latencies(left_alone)
    readers = [_Slow(server, "reader") for _ in range(count // 4)]
    until(lambda: len(server.engine.asked) == len(readers), 60)
    until(lambda: server.engine.load.running == 0, 120)  # what is left to do is to hand it over
    crowd = [_Slow(server, ("silent", "head", "body")[number % 3]) for number in range(count - len(readers))]
    ended = threading.Event()
    feeding = threading.Thread(target=_feed, args=(crowd, ended))
    feeding.start()
    try:
        time.sleep(0.5)  # until all have been accepted
        among, *beside = _latencies(server, *([left_alone] if FULL else []))
        alone = beside[0] if beside else alone
        until(lambda: all(one.closed for one in crowd), deadlines.body + 15)
        gone = f"forge_clients_gone_total {len(readers)}\n".encode()
        until(lambda: gone in server.ask("GET", "/metrics").content, deadlines.reading + 15)
        longest = time.monotonic() - readers[0].begun
    finally:
        ended.set()
        feeding.join()
        for one in [*crowd, *readers]:
            one.connection.close()
    limits = {"silent": deadlines.head, "head": deadlines.head, "body": deadlines.body}
    latest = {kind: max(one.closed - one.begun for one in crowd if one.kind == kind) for kind in limits}
    ratio = quantiles(among, n=100)[98] / quantiles(alone, n=100)[98]
    latest["reader"] = longest
    sys.stdout.write(f"{count} slow clients, closed after at most {latest} s; p99 of the others {ratio:.2f}x\n")
    assert all(latest[kind] <= limit + (1 if FULL else 3) for kind, limit in limits.items())
    if FULL:
        assert ratio <= 1.5
    assert median(among) <= 1.5 * median(alone) + 0.05


def _latencies(*servers: Any) -> list[list[float]]:
    """How long each server takes for the plainest answer, asked in turn."""
    found: list[list[float]] = [[] for _ in servers]
    for _ in range(1000 if FULL else 100):
        for server, taken in zip(servers, found, strict=True):
            began = time.monotonic()
            server.ask("GET", "/health")
            taken.append(time.monotonic() - began)
    return found


class _Slow:
    """A client that says nothing, says a byte of a head or of a body at a time, or does not read what it asked for."""

    def __init__(self, server: Running, kind: str) -> None:
        self.kind = kind
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.connection.connect(("127.0.0.1", server.port))
        self.begun, self.closed = time.monotonic(), 0.0
        self.connection.sendall(self._first())
        self.connection.setblocking(False)

    def _first(self) -> bytes:
        if self.kind == "reader":
            body = json.dumps({"prompt": "0123456789", "max_tokens": 600, "stream": True}).encode()
            return HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body
        head = b"GET / HTTP/1.1\r\nhost: localhost\r\n"
        return {"silent": b"", "head": head, "body": HEAD + b"content-length: 1000\r\n\r\n"}[self.kind]

    def go_on(self) -> None:
        """Say the next byte, and see whether the server is still there."""
        if self.closed:
            return
        try:
            if self.kind != "silent":
                self.connection.send(b"x")
            gone = self.connection.recv(4096) == b""
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self.closed = time.monotonic()


def _feed(crowd: list[_Slow], ended: threading.Event) -> None:
    while not ended.wait(1 if FULL else 0.2):
        for one in crowd:
            one.go_on()


def test_each_server_has_times_of_its_own() -> None:
    assert deadline_protocol(Deadlines(head=1)).times.head == 1
    assert deadline_protocol(Deadlines()).times == Deadlines(10, 30, 60, 256 << 10)
