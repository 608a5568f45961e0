"""What stands in front of every route: who may ask, from where, how much, and how long a request may take to arrive.

It works on what the connection says and not on what a request says about itself, and it knows no routes: whatever is added
behind it is behind the key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["App", "Guard", "GuardRules", "error_body", "key_digests"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]
"""An ASGI application."""

_READ_AT_MOST: Final = 8  # times what is allowed
_MOST_HEADERS: Final = 128
_LARGEST_HEAD: Final = 32 << 10
_BODILESS: Final = {"GET", "HEAD", "OPTIONS", "DELETE"}
# A text that never ends goes on to the end: were it no match, the same would be looked for again behind each of its quotes.
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What is let through. ``keys`` are digests of the keys; without any, only requests to the names of this machine are."""

    keys: tuple[bytes, ...] = ()
    hosts: frozenset[str] = _LOOPBACK
    body: int = 2 << 20
    depth: int = 32
    seconds: float = 30.0
    said: Mapping[str, str] = field(
        default_factory=lambda: {
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "x-frame-options": "DENY",
            "cache-control": "no-store",
        }
    )


def key_digests(keys: Iterable[str]) -> tuple[bytes, ...]:
    """What the guard remembers of keys: not the keys themselves."""
    return tuple(_digest(key.encode()) for key in keys)


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """An error as OpenAI's clients read it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


class _Refused(Exception):  # noqa: N818 - an answer, and no failure
    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Guard:
    """An application that lets a request through to another one, or answers it itself."""

    def __init__(self, app: App, rules: GuardRules, count: Callable[[int], None] = lambda _status: None) -> None:
        self._app = app
        self._rules = rules
        self._count = count

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            _check_head(scope)
            headers = _headers(scope)
            self._check_sender(headers)
            body = await self._body(scope, headers, receive)
        except _Refused as refused:
            await self._refuse(refused, send)
            return
        await self._app(scope, _replay(body, receive), self._with_headers(send))

    # ---- who

    def _check_sender(self, headers: dict[str, list[str]]) -> None:
        self._check_origin(headers)
        if self._rules.keys:
            self._check_key(headers.get("authorization", []))
        elif _without_port(_only(headers, "host")) not in self._rules.hosts:
            raise _Refused(403, "this server has no key, and answers only requests to this machine by its own names")

    def _check_origin(self, headers: dict[str, list[str]]) -> None:
        """A page of another site may neither read nor start anything, even where the browser knows the key."""
        host = _only(headers, "host")
        for origin in headers.get("origin", []):
            if origin.lower().partition("://")[2] != host:
                raise _Refused(403, "requests from pages of other sites are refused")

    def _check_key(self, given: list[str]) -> None:
        offered = _key_in(given[0]) if len(given) == 1 else b""
        digest = _digest(offered)
        # Each key is compared, always whole, so that the time says nothing.
        matches = [hmac.compare_digest(digest, key) for key in self._rules.keys]
        if not any(matches) or not offered:
            raise _Refused(
                401,
                "this server needs its API key: send it as `Authorization: Bearer KEY`",
                **{"www-authenticate": 'Basic realm="forge", charset="UTF-8"'},
            )

    # ---- what

    async def _body(self, scope: _Scope, headers: dict[str, list[str]], receive: _Receive) -> bytes:
        try:
            body = await asyncio.wait_for(self._read(headers, receive), self._rules.seconds)
        except asyncio.TimeoutError:
            raise _Refused(408, "the request did not arrive in time") from None
        if body and scope["method"] not in _BODILESS:
            self._check_form(headers, body)
        return body

    async def _read(self, headers: dict[str, list[str]], receive: _Receive) -> bytes:
        announced = headers.get("content-length", ["0"])[0]
        if not announced.isdigit() or int(announced[:20]) > _READ_AT_MOST * self._rules.body:
            raise self._too_large()
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refused(400, "the request ended early")
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size <= self._rules.body:
                pieces.append(piece)
            elif size > _READ_AT_MOST * self._rules.body:
                raise self._too_large()
        # A little too much is read to its end: one who is cut off while sending never sees why.
        if size > self._rules.body:
            raise self._too_large()
        return b"".join(pieces)

    def _too_large(self) -> _Refused:
        return _Refused(413, f"a request has {self._rules.body >> 20} MiB at most", connection="close")

    def _check_form(self, headers: dict[str, list[str]], body: bytes) -> None:
        kind = ",".join(headers.get("content-type", [])).partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _Refused(415, "the body of a request is JSON: send content-type: application/json")
        if _depth_beyond(body, self._rules.depth):
            raise _Refused(400, f"the JSON of a request is nested {self._rules.depth} levels deep at most")

    # ---- answers

    async def _refuse(self, refused: _Refused, send: _Send) -> None:
        self._count(refused.status)
        body = error_body(str(refused), "authentication_error" if refused.status == 401 else "invalid_request_error")  # noqa: PLR2004
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        await self._with_headers(send)(
            {"type": "http.response.start", "status": refused.status, "headers": _raw(headers | refused.headers)}
        )
        await send({"type": "http.response.body", "body": body})

    def _with_headers(self, send: _Send) -> _Send:
        async def sending(message: _Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message.get("headers", [])}
                more = [pair for pair in _raw(self._rules.said) if pair[0] not in known]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        return sending


def _check_head(scope: _Scope) -> None:
    names = [name.lower() for name, _ in scope["headers"]]
    if len(names) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in scope["headers"]) > _LARGEST_HEAD:
        raise _Refused(431, "the head of the request is too large")
    if b"transfer-encoding" in names and b"content-length" in names:
        raise _Refused(400, "a request says once how long it is: by content-length, or by transfer-encoding")


def _headers(scope: _Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _only(headers: dict[str, list[str]], name: str) -> str:
    """The value of a header that is there once; nothing when it is there more often."""
    values = headers.get(name, [])
    return values[0].strip().lower() if len(values) == 1 else ""


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _key_in(header: str) -> bytes:
    """The key that a header offers: after ``Bearer``, or as the password of ``Basic``, which browsers ask for."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _depth_beyond(body: bytes, limit: int) -> bool:
    """Whether brackets are nested deeper than a limit; those inside texts do not count."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    depth = 0
    for match in _BRACKET.finditer(_QUOTED.sub(b"", body)):
        depth += 1 if match[0] in b"[{" else -1
        if depth > limit:
            return True
    return False


def _replay(body: bytes, receive: _Receive) -> _Receive:
    """Give the body that was read, and then what the connection says."""
    given = False

    async def receiving() -> _Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
