from __future__ import annotations

import asyncio
import base64
import os
import random
import string
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from forge.ml.serve import guard
from forge.ml.serve.guard import Guard, GuardRules, error_body, key_digests

if TYPE_CHECKING:
    from conftest import Answer, Running

    from forge.ml.serve.model_folder import ServedModel

pytest.importorskip("fastapi")
KEY = "a-key-of-enough-letters"
FULL = bool(os.environ.get("FORGE_FULL"))
PATHS = [
    "/",
    "/v1/models",
    "/v1/models/small",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/tokenize",
]
PATHS += ["/detokenize", "/health", "/metrics", "/openapi.json", "/docs", "/redoc", "/nosuch"]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "FOO"]


def test_nothing_is_answered_without_the_key(locked: Running) -> None:
    locked_out = {"authorization": ""}
    for path in PATHS:
        for method in METHODS[:8]:
            found = locked.ask(method, path, headers=locked_out)
            assert found.status in (400, 401), (method, path)
            assert b"small" not in found.content
    assert locked.ask("GET", "/v1/models").status == 200


def _mutated(chance: random.Random, key: str, path: str = "") -> tuple[str, str, dict[str, str]]:
    """A request without the key that looks as if it had something like it."""
    path = path or chance.choice(PATHS)
    kind = chance.randrange(6)
    path = ["/" + path, path.replace("/", "%2f", 1) or "/", path.upper(), path + "/..;/", path + "?key=" + key, path][
        kind
    ]
    if not path.startswith("/"):
        path = "/" + path
    names = ["Authorization", "authorization", "X-Api-Key", "Api-Key", "X-Forwarded-For", "X-Original-URL", "Cookie"]
    names += ["Proxy-Authorization", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Rewrite-URL", "Origin"]
    half = key[: chance.randrange(len(key))]
    values = [
        "Bearer",
        "Bearer ",
        f"Bearer {half}",
        f"Bearer {key}x",
        f"bearer  {half}",
        key,
        f"Basic {key}",
        "127.0.0.1",
    ]
    values += [
        f"Token {key}",
        f"Bearer {key[::-1]}",
        f"Bearer {key.upper()}",
        f"Bearer {key} {key}",
        "null",
        "http://localhost",
    ]
    values += [
        "Basic " + base64.b64encode(f"{key}:{half}".encode()).decode(),
        "".join(chance.choices(string.printable[:94], k=20)),
    ]
    headers = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(4))}
    if chance.random() < 0.3:
        headers["Host"] = chance.choice(["localhost", "localhost/v1/models?", "127.0.0.1:1", "small", "[::1]"])
    return chance.choice(METHODS), path, headers


def test_no_mutation_of_a_request_gets_round_the_key(locked: Running) -> None:
    chance = random.Random(1)
    for _ in range(5000 if FULL else 300):
        method, path, headers = _mutated(chance, locked.key)
        found = locked.ask(method, path, headers={"authorization": "", **headers})
        assert found.status in (400, 401, 403, 408), (method, path, headers)
        assert b'"small"' not in found.content


def test_no_route_and_no_method_is_answered_without_the_key(served_model: ServedModel, make_engine: Any) -> None:
    """The application itself, without a connection: so many more attempts can be made at each route by each method."""
    from forge.ml.serve.app import build_app

    app = build_app(make_engine(), served_model, GuardRules(keys=key_digests([KEY])))
    chance = random.Random(2)
    statuses: dict[int, int] = {}

    async def attempt(method: str, path: str) -> None:
        _, mutated, given = _mutated(chance, KEY, path)
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()]
        found = await _asked(app, method, mutated, headers)
        assert found in (400, 401, 403), (method, mutated, headers)
        statuses[found] = statuses.get(found, 0) + 1

    async def all_of_them() -> None:
        for path in PATHS:
            for method in METHODS:
                for _ in range(5000 if FULL else 20):
                    await attempt(method, path)

    asyncio.run(all_of_them())
    assert sum(statuses.values()) == len(PATHS) * len(METHODS) * (5000 if FULL else 20)
    assert statuses[401] > statuses[403] > 0


async def _asked(app: Any, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    plain, _, query = path.partition("?")
    scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "headers": headers}
    scope |= {"path": unquote(plain), "raw_path": plain.encode(), "query_string": query.encode(), "root_path": ""}
    found: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    await app(scope, receive, send)
    return found[0]


def test_the_key_may_come_as_a_password_from_a_browser(locked: Running) -> None:
    asked = locked.ask("GET", "/", headers={"authorization": ""})
    assert asked.headers["www-authenticate"].startswith("Basic")
    given = base64.b64encode(f"anyone:{locked.key}".encode()).decode()
    assert locked.ask("GET", "/", headers={"authorization": f"Basic {given}"}).status == 200
    assert locked.ask("GET", "/", headers={"authorization": "Basic %%%"}).status == 401


def test_keys_are_compared_in_constant_time(locked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = guard.hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((len(first), len(second)))
        return real(first, second)

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    assert locked.ask("GET", "/health").status == 200
    assert locked.ask("GET", "/health", headers={"authorization": "Bearer x"}).status == 401
    assert compared == [(32, 32), (32, 32)]
    assert locked.key.encode() not in b"".join(key_digests([locked.key]))


def test_without_a_key_only_this_machine_by_its_own_names_is_answered(server: Running) -> None:
    port = server.port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "localhost"):
        assert server.ask("GET", "/health", headers={"host": host}).status == 200
    for host in ("evil.example", f"localhost.evil.example:{port}", "", "localhost:x"):
        assert server.ask("GET", "/health", headers={"host": host}).status in (400, 403)


def test_pages_of_other_sites_are_refused(server: Running, locked: Running) -> None:
    for one in (server, locked):
        own = {"origin": f"http://127.0.0.1:{one.port}"}
        assert one.ask("GET", "/health", headers=own).status == 200
        for origin in (
            "http://evil.example",
            "null",
            f"http://127.0.0.1:{one.port}.evil.example",
            "http://127.0.0.1:1",
        ):
            found = one.ask("POST", "/v1/completions", {"prompt": "a"}, headers={"origin": origin})
            assert found.status == 403
            assert "access-control-allow-origin" not in found.headers


def test_a_body_has_a_form_a_size_and_a_depth(server: Running) -> None:
    def ask(body: bytes, kind: str = "application/json") -> Answer:
        return server.ask("POST", "/v1/completions", body, headers={"content-type": kind})

    assert ask(b'{"prompt": "a"}', "text/plain").status == 415
    assert ask(b'{"prompt": "a"}', "application/json; charset=utf-8").status == 200
    assert ask(b" " * (2 << 20) + b"{}").status == 413
    assert "32 levels" in ask(b'{"prompt": ' + b"[" * 40 + b"]" * 40 + b"}").error
    assert ask(b'{"prompt": "' + b"[" * 4000 + b'", "max_tokens": 1}').status == 200
    assert ask(b'{"prompt": "\\"' + b"[{" * 100 + b'", "max_tokens": 1}').status == 200


def test_no_body_takes_long_to_look_at(server: Running) -> None:
    large = 1 << 19
    for body in (
        b"[" * 33 + b'"' + b'\\"' * large,
        b"[" * 33 + b'"' + b"\\" * large,
        b"[" * 33 + b'"' * (2 * large - 1),
        b'["' * large,
        b"[" * 33 + b'"a\\' * (large // 2),
    ):
        began = time.process_time()
        assert server.ask("POST", "/v1/completions", body).status == 400
        assert time.process_time() - began < 3


def test_answers_say_what_browsers_may_do_with_them(server: Running) -> None:
    found = server.ask("GET", "/health").headers
    assert found["x-content-type-options"] == "nosniff"
    assert found["cache-control"] == "no-store"
    assert "server" not in found


def test_what_is_no_request_is_closed() -> None:
    async def app(*_: object) -> None:
        raise AssertionError

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    asyncio.run(Guard(app, GuardRules())({"type": "websocket"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert b'"param": null' in error_body("x", "y")
