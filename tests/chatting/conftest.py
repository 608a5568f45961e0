"""A server that speaks as much of OpenAI's API as a client needs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class SpokenServer(ThreadingHTTPServer):
    """Answers each chat with ``words``; what it was asked stays in ``asked``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.words = ["Hel", "lo \x1b[31m", "ü"]
        self.models = ["small"]
        self.refusal: tuple[int, Any] | None = None
        self.extra: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: SpokenServer

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {}, self.headers["authorization"]))
        self._answer(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body, self.headers["authorization"]))
        if self.server.refusal is not None:
            self._answer(*self.server.refusal)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        chat = self.path.endswith("/chat/completions")
        events = [{"choices": [{"delta": {"content": word}} if chat else {"text": word}]} for word in self.server.words]
        for event in [{"choices": []}, *events, *self.server.extra]:
            text = event if isinstance(event, str) else "data: " + json.dumps(event)
            self.wfile.write(text.encode() + b"\n\n")
        self.wfile.write(b": a remark\n\ndata: [DONE]\n\ndata: {}\n\n")

    def _answer(self, status: int, found: Any) -> None:
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def spoken() -> Iterator[SpokenServer]:
    server = SpokenServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
