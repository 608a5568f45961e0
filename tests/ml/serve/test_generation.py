from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.serve.engine import Ended, EngineBusy, Sampled, Sampling, Work
from forge.ml.serve.generation import EngineFailed, Generation, Postbox, TextPiece

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.serve.model_folder import ServedModel


def _run(model: ServedModel, engine: Any, texts: list[str], use: Callable[[Generation], Any], stops: Any = ()) -> Any:
    works = [Work(tuple(model.tokens(text)), Sampling(max_tokens=6)) for text in texts]

    async def run() -> Any:
        postbox = Postbox(asyncio.get_running_loop())
        generation = await Generation.begin(engine, postbox, model.tokenizer, works, stops)
        try:
            return await use(generation)
        finally:
            generation.close()

    engine.start()
    try:
        return asyncio.run(run())
    finally:
        engine.close()


def test_texts_come_whole(served_model: ServedModel, make_engine: Any) -> None:
    found = _run(served_model, make_engine(), ["abc", "xy"], Generation.whole)
    assert [(piece.index, piece.text, piece.finish, len(piece.tokens)) for piece in found] == [
        (0, "abcabc", "length", 6),
        (1, "xyxyxy", "length", 6),
    ]


def test_a_stop_string_cancels_the_rest(served_model: ServedModel, make_engine: Any) -> None:
    engine = make_engine(tick=0.01)
    (found,) = _run(served_model, engine, ["abc"], Generation.whole, ["c"])
    assert (found.text, found.finish) == ("ab", "stop")
    assert engine.cancelled == [1]


def test_closing_cancels_what_is_left(served_model: ServedModel, make_engine: Any) -> None:
    async def first(generation: Generation) -> list[TextPiece]:
        async for pieces in generation.pieces():
            return pieces
        return []

    engine = make_engine(tick=0.01)
    assert _run(served_model, engine, ["abc", "d"], first)[0].text in "abcd"
    assert engine.cancelled == [1, 2]


def test_no_room_for_all_means_room_for_none(served_model: ServedModel, make_engine: Any) -> None:
    engine = make_engine(slots=1, waiting=1, tick=0.01)
    with pytest.raises(EngineBusy):
        _run(served_model, engine, ["a", "b", "c"], Generation.whole)
    assert engine.cancelled == [1, 2]


def test_an_engine_that_fails_is_no_empty_text(served_model: ServedModel, make_engine: Any) -> None:
    engine = make_engine()
    engine.failing = True
    with pytest.raises(EngineFailed):
        _run(served_model, engine, ["a"], Generation.whole)


def test_words_that_follow_soon_are_gathered() -> None:
    asked: list[tuple[str, Callable[[], None]]] = []

    class Loop:
        def call_soon_threadsafe(self, work: Callable[[], None]) -> None:
            asked.append(("now", work))

        def call_later(self, _seconds: float, work: Callable[[], None]) -> Any:
            asked.append(("later", work))
            return types.SimpleNamespace(cancel=lambda: asked.append(("never", work)))

    queue: Any = asyncio.Queue()
    heard = Postbox(Loop()).hearer(queue, 0)  # type: ignore[arg-type]
    heard(Sampled(1))
    asked[-1][1]()
    assert queue.qsize() == 1
    for token in (2, 3):
        heard(Sampled(token))
    assert [when for when, _ in asked] == ["now", "later"]
    asked[-1][1]()
    assert queue.qsize() == 3
    heard(Ended("stop"))
    assert asked[-1][0] == "now"
    asked[-1][1]()
    assert queue.qsize() == 4
    assert [when for when, _ in asked[-2:]] == ["never", "later"]  # one timer at a time
    asked[-1][1]()  # nothing was said meanwhile
    heard(Sampled(4))
    assert asked[-1][0] == "now"
