"""The serving benchmark: it makes a model, asks servers in turn, and its table says what was measured."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("serve")


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()
        reason = "length" if asked["model"] == "m" else "stop"
        for delta, finish in [({"role": "assistant"}, None), ({"content": "a"}, None), ({}, reason)]:
            event = {"choices": [{"delta": delta, "finish_reason": finish}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # clients that come at once


@pytest.fixture
def port() -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_servers_are_asked_in_turn_and_compared(serve: ModuleType, port: int) -> None:
    options = argparse.Namespace(clients="1,32", tokens=4, rounds=2, size="tiny", threads=1)
    servers = [serve.Server(name, "m", port, os.getpid()) for name in (serve.OURS, serve.BATCHED, serve.PLAIN)]
    table = serve.compare(servers, options)
    assert [row[:2] for row in table.rows] == [
        (clients, name) for clients in ("1", "32") for name in (serve.OURS, serve.BATCHED, serve.PLAIN)
    ]
    assert [row[-2] for row in table.rows] == ["-", "-", "-", "≥ 1.2x", "-", "-"]
    assert "first token" in table.markdown()
    assert all(int(row[5]) > 0 for row in table.rows)


def test_a_text_that_ended_early_is_no_measurement(serve: ModuleType, port: int) -> None:
    with pytest.raises(SystemExit, match="'stop'"):
        asyncio.run(serve.ask(serve.Server("peer", "other", port, os.getpid()), 1, 4))


@pytest.mark.torch
@pytest.mark.slow
def test_forge_serves_the_model_that_it_makes(serve: ModuleType, tmp_path: Path) -> None:
    for name in ("torch", "transformers", "fastapi", "uvicorn"):
        pytest.importorskip(name)
    if not os.environ.get("FORGE_FULL"):
        pytest.skip("it takes half a minute: FORGE_FULL=1 runs it")
    serve.make_model(str(tmp_path), *serve._SIZES["tiny"])
    with serve.running(serve.OURS, str(tmp_path), 1) as server:
        found = asyncio.run(serve.ask(server, 3, 6))
    assert found.tokens_per_second > 1
    assert found.first > 0
