"""Answers that take their time: streams of events, and plain ones. Either ends when the client is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

__all__ = ["ClientGone", "EventStream", "until_gone"]

_Result = TypeVar("_Result")


class ClientGone(Exception):  # noqa: N818 - it says what is so
    """The client left before its answer was there."""


async def until_gone(request: Request, work: Coroutine[None, None, _Result]) -> _Result:
    """The result of some work, which is cancelled when the client goes away."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for other in (task, watch):
            other.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


class EventStream(Response):
    """Server-sent events. ``closed`` is called at the end, however it comes, and told whether the client saw all of it."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], closed: Callable[[bool], None]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events
        self._closed = closed
        self._all_sent = self._left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - an ASGI application
        """Send the events."""
        sending = asyncio.ensure_future(self._send_all(send))
        watch = asyncio.ensure_future(self._watch(receive))
        try:
            await asyncio.wait({sending, watch}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, watch):
                task.cancel()
            await asyncio.gather(sending, watch, return_exceptions=True)
            self._closed(self._all_sent and not self._left)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        self._all_sent = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, receive: Receive) -> None:
        """Wait until the client leaves; what is said of a connection after the last event is no leaving."""
        await _gone(receive)
        self._left = not self._all_sent


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
