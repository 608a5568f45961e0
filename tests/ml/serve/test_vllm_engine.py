from __future__ import annotations

import asyncio
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ModelError, ToolError
from forge.ml.serve import vllm_engine
from forge.ml.serve.engine import Ended, EngineBusy, RequestRefused, Sampled, Sampling, Work
from forge.ml.serve.sources import ServedSource
from forge.ml.serve.vllm_engine import VllmEngine, VllmSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SOURCE = ServedSource("model", "model", None, "m")


class _Values:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class _AsyncLLM:
    """Says the prompt again, two tokens at a time, as vLLM's engine says things."""

    begun: Any = None
    errored = False

    @classmethod
    def from_engine_args(cls, asked: Any) -> _AsyncLLM:
        made = cls()
        made.args, made.aborted, made.ended = asked, [], False  # type: ignore[attr-defined]
        cls.begun = made
        return made

    async def generate(self, *, request_id: str, prompt: Any, sampling_params: Any) -> AsyncIterator[Any]:
        tokens = prompt["prompt_token_ids"]
        if tokens[0] in (665, 666):
            self.errored = tokens[0] == 666
            raise RuntimeError("out of memory" if self.errored else "no such schema")
        try:
            for count in range(0, sampling_params.max_tokens, 2):
                await asyncio.sleep(0.001)
                new = tokens[count : count + 2]
                stopped = any(token in sampling_params.stop_token_ids for token in new)
                logprobs = None
                if sampling_params.logprobs is not None:
                    logprobs = [{9: _Values(logprob=-2.0), token: _Values(logprob=-0.5)} for token in new]
                last = stopped or count + 2 >= sampling_params.max_tokens
                reason = ("stop" if stopped else "length") if last else None
                yield _Values(outputs=[_Values(token_ids=new, logprobs=logprobs, finish_reason=reason)])
                if last:
                    return
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted.append(request_id)  # type: ignore[attr-defined]
            raise

    def shutdown(self) -> None:
        self.ended = True


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VllmEngine]]:
    modules = {
        name: types.ModuleType(name) for name in ("vllm", "vllm.v1", "vllm.v1.engine", "vllm.v1.engine.async_llm")
    }
    modules["vllm.sampling_params"] = types.ModuleType("vllm.sampling_params")
    modules["vllm"].AsyncEngineArgs = modules["vllm"].SamplingParams = _Values  # type: ignore[attr-defined]
    modules["vllm.sampling_params"].RequestOutputKind = _Values(DELTA=1)  # type: ignore[attr-defined]
    modules["vllm.sampling_params"].StructuredOutputsParams = _Values  # type: ignore[attr-defined]
    modules["vllm.v1.engine.async_llm"].AsyncLLM = _AsyncLLM  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "0")  # so that it is put back
    monkeypatch.delenv("VLLM_NO_USAGE_STATS")
    begun: list[VllmEngine] = []

    def make(settings: VllmSettings | None = None) -> VllmEngine:
        begun.append(VllmEngine(SOURCE, 2048, settings or VllmSettings()))
        begun[-1].start()
        return begun[-1]

    yield make
    for engine in begun:
        engine.close()


def _submit(engine: VllmEngine, prompt: tuple[int, ...], **sampling: Any) -> tuple[int, list[Any], threading.Event]:
    words: list[Any] = []
    done = threading.Event()

    def heard(word: Sampled | Ended) -> None:
        words.append(word)
        if isinstance(word, Ended):
            done.set()

    number = engine.submit(Work(prompt, Sampling(**{"max_tokens": len(prompt), **sampling})), heard)
    return number, words, done


def test_texts_are_handed_on(begin: Callable[..., VllmEngine]) -> None:
    engine = begin(VllmSettings(longest=1000))
    assert (engine.longest, _AsyncLLM.begun.args.model, _AsyncLLM.begun.args.trust_remote_code) == (
        1000,
        "model",
        False,
    )
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    _, words, done = _submit(engine, (1, 2, 3, 4))
    assert done.wait(10)
    assert words == [Sampled(1), Sampled(2), Sampled(3), Sampled(4), Ended("length")]
    _, words, done = _submit(engine, (1, 2, 3, 4), stop_tokens=frozenset([4]), top_logprobs=2, schema="{}")
    assert done.wait(10)
    assert words[0] == Sampled(1, -0.5, ((1, -0.5), (9, -2.0)))
    assert words[-1] == Ended("stop")
    assert len(words) == 4


def test_cancelling_aborts(begin: Callable[..., VllmEngine], until: Callable[..., None]) -> None:
    engine = begin()
    number, words, done = _submit(engine, tuple(range(1, 4000)))
    until(lambda: words)
    engine.cancel(number)
    assert done.wait(10)
    assert words[-1] == Ended("cancelled")
    until(lambda: engine.load.running == 0)
    engine.cancel(number)


def test_there_is_room_for_so_many(begin: Callable[..., VllmEngine]) -> None:
    engine = begin(VllmSettings(slots=1, waiting=1))
    for _ in range(2):
        _submit(engine, tuple(range(1, 4000)))
    assert (engine.load.running, engine.load.waiting) == (1, 1)
    with pytest.raises(EngineBusy, match="wait already"):
        _submit(engine, (1, 2))
    engine._closing = True
    with pytest.raises(EngineBusy, match="ending"):
        _submit(engine, (1, 2))


def test_a_failure_is_told(begin: Callable[..., VllmEngine], caplog: pytest.LogCaptureFixture) -> None:
    engine = begin()
    _, words, done = _submit(engine, (666,))
    assert done.wait(10)
    assert words == [Ended("error", "the engine failed")]
    assert not engine.load.alive
    assert "out of memory" in caplog.text


def test_one_request_that_vllm_refuses_does_not_end_the_others(
    begin: Callable[..., VllmEngine], until: Callable[..., None]
) -> None:
    engine = begin()
    _, words, done = _submit(engine, (665,))
    assert done.wait(10)
    assert words == [Ended("error", "the engine failed")]
    assert engine.load.alive
    until(lambda: engine.load.running == 0)
    _, words, done = _submit(engine, (1, 2))
    assert done.wait(10)
    assert words[-1] == Ended("length")


def test_what_it_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "find_spec", lambda _name: None)
    with pytest.raises(ToolError, match="not installed"):
        VllmEngine(SOURCE, 2048, VllmSettings())
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    with pytest.raises(ModelError, match="adapter"):
        VllmEngine(ServedSource("m", "m", "a", "m"), 2048, VllmSettings())
    engine = VllmEngine(SOURCE, 2048, VllmSettings())
    with pytest.raises(RequestRefused, match="no embeddings"):
        engine.embed([[1]])
    engine.close()
