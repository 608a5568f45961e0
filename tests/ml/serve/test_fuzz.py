"""Requests that are nearly right, made from the server's own description: none is an inner error, none tells anything."""

from __future__ import annotations

import http.client
import json
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Running

pytest.importorskip("fastapi")
COUNT = 5000 if os.environ.get("FORGE_FULL") else 500
ODD = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    2**200,
    0.5,
    -0.0,
    1e308,
    "",
    "a",
    "ü🙂\x00",
    "\x00",
    "<|im_end|>",
    "x" * 3000,
    [],
]
ODD += [{}, [[]], [None], {"": None}, [0], [300], [2**40], {"type": "text"}, {"a": {"b": [1]}}, ["a", 1], "\x7f\x1b[2J"]
RAW = [
    b"",
    b"{",
    b"nul",
    b"[" * 50,
    b'{"a":' * 40,
    b"\xff\xfe",
    b'"\\ud800"',
    b"NaN",
    b"1e9999",
    b'{"prompt":NaN}',
    b"{}{}",
]
FIRST = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    "/v1/completions": {"prompt": "hi", "max_tokens": 2},
    "/v1/embeddings": {"input": "hi"},
    "/tokenize": {"prompt": "hi"},
    "/detokenize": {"tokens": [70, 71]},
}


def _example(schema: dict[str, Any], known: dict[str, Any], chance: random.Random, depth: int = 0) -> Any:
    """A value by a schema, or beside it."""
    if chance.random() < 0.12 or depth > 5:
        return chance.choice(ODD)
    if "$ref" in schema:
        return _example(known[schema["$ref"].rpartition("/")[2]], known, chance, depth + 1)
    if "anyOf" in schema:
        return _example(chance.choice(schema["anyOf"]), known, chance, depth + 1)
    for key in ("enum", "const"):
        if key in schema:
            return chance.choice(schema[key]) if key == "enum" else schema[key]
    kind = schema.get("type")
    if kind == "object":
        names = [
            name for name in schema.get("properties", {}) if chance.random() < 0.3 or name in schema.get("required", [])
        ]
        return {name: _example(schema["properties"][name], known, chance, depth + 1) for name in names}
    if kind == "array":
        return [_example(schema.get("items", {}), known, chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind in ("integer", "number"):
        return chance.choice([schema.get("minimum", 0), schema.get("maximum", 9), 1, chance.uniform(-3, 3)][::1])
    if kind == "boolean":
        return chance.random() < 0.5
    return chance.choice(["a", "hi there", "small", "é", *(option for option in ODD if isinstance(option, str))])


def _body(path: str, described: dict[str, Any], chance: random.Random) -> bytes:
    if chance.random() < 0.1:
        return chance.choice(RAW)
    known = described["components"]["schemas"]
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found = _example(schema, known, chance)
    if isinstance(found, dict):
        found = {**FIRST[path], **found}
        if isinstance(found.get("max_tokens"), int | float) and not isinstance(found["max_tokens"], bool):
            found["max_tokens"] = min(found["max_tokens"], 8)
        found.pop("max_completion_tokens", None)
    content = json.dumps(found).encode()
    if chance.random() < 0.1:
        place = chance.randrange(len(content) + 1)
        content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
    return content


def test_no_request_is_an_inner_error(server: Running) -> None:
    described = server.ask("GET", "/openapi.json").json
    chance = random.Random(7)
    statuses: dict[int, int] = {}
    for number in range(COUNT):
        path = chance.choice(list(FIRST))
        content = _body(path, described, chance)
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
