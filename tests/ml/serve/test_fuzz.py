"""Requests that are nearly right, made from the server's own description: none is an inner error, none tells anything."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from nearly_right import FIRST, RAW, body_for

if TYPE_CHECKING:
    from conftest import RealServer, Running

pytest.importorskip("fastapi")
FULL = bool(os.environ.get("FORGE_FULL"))
COUNT = 5000 if FULL else 500
SECONDS = float(os.environ.get("FORGE_FUZZ_SECONDS") or (3600 if FULL else 4))


def test_no_request_is_an_inner_error(server: Running) -> None:
    described = server.ask("GET", "/openapi.json").json
    chance = random.Random(7)
    statuses: dict[int, int] = {}
    for number in range(COUNT):
        path = chance.choice(list(FIRST))
        content = body_for(path, described, chance)
        found = server.ask("POST", path, content)
        statuses[found.status] = statuses.get(found.status, 0) + 1
        assert found.status in (200, 400, 404, 413, 415, 429), (number, path, content, found.content)
        assert b"Traceback" not in found.content
        assert b"/forge/" not in found.content
        assert b" at 0x" not in found.content
    assert statuses[200] > COUNT / 20  # otherwise nothing behind the first check was reached
    assert statuses[400] > COUNT / 20
    assert server.ask("GET", "/health").json == {"status": "ok"}
    assert server.engine.load.running == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET http://evil/v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
    ids=range(12),
)
def test_bytes_that_are_no_request_are_refused(server: Running, raw: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(raw)
        connection.settimeout(15)
        with connection.makefile("rb") as stream:
            try:
                line = stream.readline(200)
            except ConnectionResetError:
                line = b""
    assert line == b"" or line.split()[1] in {b"400", b"403", b"404", b"413", b"431"}
    assert server.ask("GET", "/health").status == http.client.OK


# ---- the real server, for a long time


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_a_long_time_of_fuzz_leaves_the_server_as_it_was(real_server: RealServer) -> None:
    described = json.loads(real_server.ask("GET", "/openapi.json")[1])
    chance = random.Random(11)
    statuses: dict[int, int] = {}
    sizes: list[int] = []
    end = time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        status = _one_attempt(real_server, described, chance)
        statuses[status] = statuses.get(status, 0) + 1
        if len(sizes) < 100 * (1 - left / SECONDS):
            sizes.append(real_server.memory())
        if FULL:  # an hour is for what adds up, and others work on this machine
            time.sleep(0.02)
    sys.stdout.write(f"{sum(statuses.values()):,} requests: {dict(sorted(statuses.items()))}\n")
    sys.stdout.write(f"memory in MB: {[size >> 20 for size in sizes]}\n")
    assert set(statuses) <= {0, 200, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431}, statuses
    assert min(statuses[200], statuses[400], statuses[401]) > 0
    assert json.loads(real_server.ask("GET", "/health")[1]) == {"status": "ok"}
    _wait_until_idle(real_server)
    fifth = len(sizes) // 5
    before, after = median(sizes[fifth : 2 * fifth]), median(sizes[-fifth:])
    assert after <= before * 1.02 + (8 << 20 if FULL else 32 << 20)


def _one_attempt(server: RealServer, described: dict[str, Any], chance: random.Random) -> int:
    """The status of one request of some kind; 0 where the server has closed the connection without one."""
    kind = chance.random()
    if kind < 0.1:
        return _raw(server, _noise(chance))
    if kind < 0.2:
        return _left(server, chance)
    if kind < 0.3:
        return server.ask("GET", chance.choice(["/health", "/metrics", "/v1/models", "/openapi.json", "/", "/%00"]))[0]
    path = chance.choice(list(FIRST))
    content = _constrained(chance) if kind < 0.35 else body_for(path, described, chance)
    path = "/v1/chat/completions" if kind < 0.35 else path
    if kind < 0.4:
        return server.ask("POST", path, content, {"authorization": "Bearer " + "x" * chance.randrange(40)})[0]
    return server.ask("POST", path, content)[0]


def _constrained(chance: random.Random) -> bytes:
    """A chat whose answer is held to a schema, which may be none."""
    kinds: list[Any] = ["string", "integer", "boolean", "null", "nosuch", ["string", "null"]]
    properties = {f"p{number}": {"type": chance.choice(kinds)} for number in range(chance.randrange(4))}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    asked = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": chance.randrange(1, 40)}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return json.dumps({**asked, "response_format": form, "temperature": chance.random()}).encode()


def _noise(chance: random.Random) -> bytes:
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{}"
    content = bytearray(chance.choice([*RAW, head, head, b"GET / HTTP/1.1\r\n\r\n"]))
    for _ in range(chance.randrange(4)):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def _raw(server: RealServer, content: bytes) -> int:
    """Send some bytes, and leave."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(content + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError), connection.makefile("rb") as stream:
            line = stream.readline(200).split()
            return int(line[1]) if len(line) > 1 else 0
    return 0


def _left(server: RealServer, chance: random.Random) -> int:
    """Begin a stream and go away in the middle of it."""
    body = json.dumps({"prompt": "abc", "max_tokens": 100, "stream": True, "n": chance.randrange(1, 4)})
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/completions", body, server.headers)
        response = connection.getresponse()
        response.read(chance.randrange(200))
        return response.status


def _wait_until_idle(server: RealServer) -> None:
    end = time.monotonic() + 30
    while b"\nforge_running 0\n" not in server.ask("GET", "/metrics")[1]:
        assert time.monotonic() < end, "texts are left"
        time.sleep(0.1)
