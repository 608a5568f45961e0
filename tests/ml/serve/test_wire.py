from __future__ import annotations

import json
import os
import socket
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


def test_a_slow_crowd_does_not_slow_down_the_others(begin_server: Callable[..., Running], make_engine: Any) -> None:
    count = 500 if FULL else 80
    deadlines = Deadlines() if FULL else Deadlines(head=1.2, body=1.8, reading=2.0)
    server = begin_server(make_engine(), deadlines=deadlines)
    alone = _latencies(server)
    crowd = [server.connect() for _ in range(count)]
    ended = threading.Event()
    feeding = threading.Thread(target=_feed, args=(crowd, ended))
    feeding.start()
    time.sleep(0.5)  # until all have been accepted
    try:
        among = _latencies(server)
        last = max(_seconds_until_closed(connection) for connection in crowd[:: max(count // 8, 1)])
    finally:
        ended.set()
        feeding.join()
        for connection in crowd:
            connection.close()
    assert last < deadlines.body + 5
    if FULL:  # on a machine with nothing else to do
        assert quantiles(among, n=100)[97] <= 1.5 * quantiles(alone, n=100)[97] + 0.01
    assert median(among) <= 1.5 * median(alone) + 0.05


def _latencies(server: Running) -> list[float]:
    found = []
    for _ in range(300 if FULL else 60):
        began = time.monotonic()
        assert server.ask("GET", "/health").status == 200
        found.append(time.monotonic() - began)
    return found


def _feed(crowd: list[socket.socket], ended: threading.Event) -> None:
    """A third says nothing, a third a byte of a head at a time, a third a byte of a body."""
    firsts = [b"", b"GET / HTTP/1.1\r\nhost: localhost\r\n", HEAD + b"content-length: 1000\r\n\r\n"]
    for number, connection in enumerate(crowd):
        connection.sendall(firsts[number % 3])
    while not ended.is_set():
        for number, connection in enumerate(crowd):
            if number % 3 and not ended.wait(1 / len(crowd)):
                try:
                    connection.send(b"x")
                except OSError:
                    continue


def test_each_server_has_times_of_its_own() -> None:
    assert deadline_protocol(Deadlines(head=1)).times.head == 1
    assert deadline_protocol(Deadlines()).times == Deadlines(10, 30, 60, 256 << 10)
