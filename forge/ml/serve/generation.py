"""From a request's tokens to pieces of text: hands work to the engine, listens, and lets go when nobody reads any more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from forge.ml.serve.engine import Ended, EngineBusy, Sampled
from forge.ml.serve.text_stream import TextStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tokenizers import Tokenizer

    from forge.ml.serve.engine import TextEngine, Work

__all__ = ["EngineFailed", "Generation", "Postbox", "TextPiece"]

_GATHERED: Final = 0.015
"""Seconds for which words are gathered: nobody reads faster."""


class EngineFailed(Exception):  # noqa: N818 - said of an engine
    """The engine could not finish a text."""


@dataclass(frozen=True, slots=True)
class TextPiece:
    """What is new of one of the texts: text, the tokens behind it, and at its end the reason why it ends."""

    index: int
    text: str
    tokens: tuple[Sampled, ...] = ()
    finish: Literal["stop", "length"] | None = None


class Postbox:
    """Brings what an engine's thread says into the event loop: many words with one call.

    A word after a silence arrives at once, and so does the end of a text. What follows soon is gathered, so that a fast model's
    thread does not lose its turn to the loop's at each token.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._words: deque[tuple[asyncio.Queue[tuple[int, Sampled | Ended]], int, Sampled | Ended]] = deque()
        self._lock = threading.Lock()
        self._called = False
        self._timer: asyncio.TimerHandle | None = None

    def hearer(
        self, queue: asyncio.Queue[tuple[int, Sampled | Ended]], index: int
    ) -> Callable[[Sampled | Ended], None]:
        """A function for the engine whose words arrive in a queue, under a number."""

        def heard(word: Sampled | Ended) -> None:
            with self._lock:
                self._words.append((queue, index, word))
                called, self._called = self._called, True
            if not called or isinstance(word, Ended):
                with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody listens
                    self._loop.call_soon_threadsafe(self._deliver)

        return heard

    def _deliver(self) -> None:
        with self._lock:
            words, self._words = self._words, deque()
            self._called = bool(words)
        for queue, index, word in words:
            queue.put_nowait((index, word))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_GATHERED, self._deliver) if words else None


class Generation:
    """Several texts of one request in the making. Whoever begins one closes it: that cancels what is left."""

    def __init__(self, engine: TextEngine, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._stops = stops
        self._queue: asyncio.Queue[tuple[int, Sampled | Ended]] = asyncio.Queue()
        self._running: dict[int, int] = {}
        self._texts: list[TextStream] = []

    @classmethod
    async def begin(
        cls, engine: TextEngine, postbox: Postbox, tokenizer: Tokenizer, works: Sequence[Work], stops: Sequence[str]
    ) -> Generation:
        """Hand the work to the engine; EngineBusy when there is no room for all of it."""
        made = cls(engine, tokenizer, stops)
        try:
            for index, work in enumerate(works):
                made._running[index] = await _submit(engine, work, postbox.hearer(made._queue, index))
                made._texts.append(TextStream(tokenizer, stops))
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Cancel the texts that have not ended."""
        for number in self._running.values():
            self._engine.cancel(number)
        self._running.clear()

    async def pieces(self) -> AsyncIterator[list[TextPiece]]:
        """What is new, as much as there is at a time, until all texts have ended."""
        while self._running:
            words = [await self._queue.get()]
            while not self._queue.empty():
                words.append(self._queue.get_nowait())
            found = [self._read(index, word) for index, word in words if index in self._running]
            if new := [piece for piece in found if piece is not None]:
                yield new

    async def whole(self) -> list[TextPiece]:
        """Each text as one piece, when all have ended."""
        parts: list[list[TextPiece]] = [[] for _ in self._texts]
        async for pieces in self.pieces():
            for piece in pieces:
                parts[piece.index].append(piece)
        return [_joined(part) for part in parts]

    def _read(self, index: int, word: Sampled | Ended) -> TextPiece | None:
        if index not in self._running:
            return None  # said behind a stop string
        piece = _piece(index, self._texts[index], word)
        if piece.finish is not None:
            number = self._running.pop(index)
            if isinstance(word, Sampled):
                self._engine.cancel(number)
        return piece


async def _submit(engine: TextEngine, work: Work, heard: Callable[[Sampled | Ended], None]) -> int:
    if work.sampling.schema is None:
        return engine.submit(work, heard)
    return await asyncio.to_thread(engine.submit, work, heard)  # a schema takes time to compile


def _piece(index: int, text: TextStream, word: Sampled | Ended) -> TextPiece:
    if isinstance(word, Sampled):
        new = text.add(word.token)
        return TextPiece(index, new, (word,), "stop" if text.stopped else None)
    if word.reason == "error":
        raise EngineFailed(word.detail)
    if word.reason == "cancelled":
        raise EngineBusy("the server is ending", later=10, stopping=True)
    rest = text.finish()
    return TextPiece(index, rest, (), "stop" if text.stopped else word.reason)


def _joined(pieces: Sequence[TextPiece]) -> TextPiece:
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return replace(pieces[-1], text="".join(piece.text for piece in pieces), tokens=tokens)
