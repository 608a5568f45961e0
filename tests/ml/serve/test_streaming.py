from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conftest import Running

pytest.importorskip("starlette")
pytest.importorskip("fastapi")
from forge.ml.serve.streaming import ClientGone, EventStream, until_gone

CLIENTS = 1000 if os.environ.get("FORGE_FULL") else 200
TOKENS = 24


async def _stream(port: int, nonce: str, tokens: int = TOKENS) -> tuple[int, str, float]:
    """The status, the text, and the seconds until the first piece of a stream."""
    began = time.monotonic()
    body = json.dumps({"prompt": nonce, "max_tokens": tokens, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
    status, text, first, done = 0, "", 0.0, False
    async for line in reader:
        status = status or int(line.split()[1])
        if line.startswith(b"data: {"):
            first = first or time.monotonic() - began
            text += json.loads(line[6:])["choices"][0]["text"]
        done = done or line.startswith(b"data: [DONE]")
        if line.startswith(b"retry-after"):
            done = True
    writer.close()
    await writer.wait_closed()
    assert done
    return status, text, first


def test_many_streams_at_a_time_are_whole_and_keep_apart(
    begin_server: Callable[..., Running], make_engine: Any
) -> None:
    server = begin_server(make_engine(slots=64, waiting=CLIENTS * 3 // 4 - 64))
    nonces = [f"<{number:07d}>" for number in range(CLIENTS)]

    async def all_of_them() -> list[tuple[int, str, float]]:
        return await asyncio.gather(*(_stream(server.port, nonce) for nonce in nonces))

    found = asyncio.run(all_of_them())
    answered = [(nonce, text) for nonce, (status, text, _) in zip(nonces, found, strict=True) if status == 200]
    sys.stdout.write(f"{CLIENTS} clients: {len(answered)} answered, the others were sent away\n")
    assert {status for status, _, _ in found} <= {200, 429, 503}
    assert len(answered) >= CLIENTS // 2
    assert all(text == (nonce * TOKENS)[:TOKENS] for nonce, text in answered)
    assert server.engine.load == type(server.engine.load)(0, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot_within_a_second(
    begin_server: Callable[..., Running], make_engine: Any, until: Callable[..., None], *, stream: bool
) -> None:
    server = begin_server(make_engine(slots=2, tick=0.01))
    body = json.dumps({"prompt": "abc", "max_tokens": 3000, "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode() + body)
        until(lambda: server.engine.load.running == 1)
    left = time.monotonic()
    until(lambda: server.engine.load.running == 0, 5)
    assert time.monotonic() - left < 1
    assert len(server.engine.cancelled) == 1


def test_the_work_of_one_that_is_gone_is_cancelled() -> None:
    async def never() -> None:
        await asyncio.sleep(60)

    class Left:
        async def receive(self) -> dict[str, str]:
            return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        asyncio.run(until_gone(Left(), never()))


def test_a_stream_says_whether_all_of_it_was_sent() -> None:
    ended = []

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"

    async def stay() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_message: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)

    for receive in (stay, leave):
        asyncio.run(EventStream(events(), ended.append)({"type": "http"}, receive, send))
    assert ended == [True, False]
