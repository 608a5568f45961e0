"""A server that speaks OpenAI's API, as its client sees it: answers, and streams of text."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from forge.base.errors import ToolError, UsageError
from forge.base.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ChatServer"]

_LONGEST_ANSWER: Final = 64 << 20
_LONGEST_LINE: Final = 4 << 20


class ChatServer:
    """Asks one server. ``url`` is that of its API (``http://localhost:8000/v1``); ``key`` is shown to nobody else."""

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 600.0) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"{url!r} is no address of a server", hint="write it as http://localhost:8000/v1")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = _port(parts.scheme, url)
        self._base = parts.path.rstrip("/") or "/v1"
        self._key = Secret(key) if key else None
        self._timeout = timeout

    def models(self) -> list[str]:
        """The names of the models that it serves."""
        with self._asked("GET", "/models") as response:
            found = _read_json(response)
        return [str(model["id"]) for model in found.get("data", [])]

    def chat(self, model: str, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
        """What the assistant says to a chat, piece by piece; closing the iterator ends it."""
        body = {**settings, "model": model, "messages": list(messages), "stream": True}
        for choice in self._choices("/chat/completions", body):
            yield str((choice.get("delta") or {}).get("content") or "")

    def complete(self, model: str, prompt: str, settings: Mapping[str, Any]) -> Iterator[str]:
        """How a text goes on, piece by piece."""
        for choice in self._choices("/completions", {**settings, "model": model, "prompt": prompt, "stream": True}):
            yield str(choice.get("text") or "")

    def _choices(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        with self._asked("POST", path, body) as response:
            for event in _events(response):
                if "error" in event:
                    raise ToolError(f"the server at {self.url} could not finish: {_told(event)}")
                yield from event.get("choices", [])

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, self._base + path, content, self._headers())
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise self._refused(response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise ToolError(
                f"the server at {self.url} does not answer: {reason}",
                hint="start one with forge inf server -m MODEL, or name another with --url",
            ) from error
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        found = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        return found if self._key is None else {**found, "authorization": f"Bearer {self._key.reveal()}"}

    def _refused(self, response: http.client.HTTPResponse) -> ToolError:
        told = _told(_read_json(response))
        hint = None
        if response.status == http.client.UNAUTHORIZED:
            hint = "give the key with --api-key-file FILE, or in the variable FORGE_API_KEY"
        return ToolError(f"the server at {self.url} refuses ({response.status}): {told}", hint=hint)


def _port(scheme: str, url: str) -> int:
    try:
        found = urlsplit(url if "//" in url else f"http://{url}").port
    except ValueError as error:
        raise UsageError(f"{url!r} has no port that can be: {error}") from None
    return found or (443 if scheme == "https" else 80)


def _read_json(response: http.client.HTTPResponse) -> dict[str, Any]:
    try:
        found = json.loads(response.read(_LONGEST_ANSWER))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _told(found: Mapping[str, Any]) -> str:
    error = found.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(text or found.get("detail") or "it does not say why").split())[:500]


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON of server-sent events up to the one that says that it is done."""
    while line := response.readline(_LONGEST_LINE):
        name, _, value = line.decode(errors="replace").strip().partition(":")
        if name != "data":
            continue
        if value.strip() == "[DONE]":
            return
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found
