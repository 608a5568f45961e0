from __future__ import annotations

import asyncio
import json
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
    from pathlib import Path

SOURCE = ServedSource("model", "model", None, "m")


class _Values:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class _Arguments(_Values):
    def create_model_config(self) -> Any:
        numbers = {"hidden_layers": 2, "kv_heads": 3}
        counts = {f"get_total_num_{name}": lambda count=count: count for name, count in numbers.items()}
        return _Values(**counts, get_head_size=lambda: 5, dtype=_Values(itemsize=2))


class _AsyncLLM:
    """Says the prompt again, two tokens at a time, as vLLM's engine says things."""

    begun: Any = None
    errored = False

    @classmethod
    def from_engine_args(cls, asked: Any) -> _AsyncLLM:
        made = cls()
        if asked.model == "nosuch":
            raise ValueError("no such\n  architecture")
        made.args, made.aborted, made.ended, made.adapters = asked, [], False, []  # type: ignore[attr-defined]
        cls.begun = made
        return made

    async def add_lora(self, adapter: Any) -> None:
        self.adapters.append(adapter)  # type: ignore[attr-defined]

    async def generate(
        self, *, request_id: str, prompt: Any, sampling_params: Any, lora_request: Any
    ) -> AsyncIterator[Any]:
        assert [lora_request] == (self.adapters or [None])  # type: ignore[attr-defined]
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
    names = ["vllm", "vllm.platforms", "vllm.sampling_params", "vllm.lora", "vllm.lora.request"]
    modules: dict[str, Any] = {
        name: types.ModuleType(name) for name in [*names, "vllm.v1", "vllm.v1.engine", "vllm.v1.engine.async_llm"]
    }
    modules["vllm"].AsyncEngineArgs, modules["vllm"].SamplingParams = _Arguments, _Values
    modules["vllm.platforms"].current_platform = _Values(is_cpu=lambda: True)
    modules["vllm.sampling_params"].RequestOutputKind = _Values(DELTA=1)
    modules["vllm.sampling_params"].StructuredOutputsParams = _Values
    modules["vllm.lora.request"].LoRARequest = lambda *said: said
    modules["vllm.v1.engine.async_llm"].AsyncLLM = _AsyncLLM
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    for name in ("VLLM_NO_USAGE_STATS", "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "0")  # so that it is put back
        monkeypatch.delenv(name)
    begun: list[VllmEngine] = []

    def make(settings: VllmSettings | None = None, source: ServedSource = SOURCE, grammars: Any = None) -> VllmEngine:
        begun.append(VllmEngine(source, 10_000, settings or VllmSettings(), grammars))
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
    engine = begin(VllmSettings(longest=1000, slots=4), grammars=_Values(begin=str))
    asked = _AsyncLLM.begun.args
    assert (engine.longest, asked.model, asked.trust_remote_code) == (1000, "model", False)
    assert (asked.kv_cache_memory_bytes, asked.enforce_eager) == (2 * (2 * 3 * 5) * 2 * 1128 * 4, True)
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    _, words, done = _submit(engine, (1, 2, 3, 4))
    assert done.wait(10)
    assert words == [Sampled(1), Sampled(2), Sampled(3), Sampled(4), Ended("length")]
    _, words, done = _submit(engine, (1, 2, 3, 4), stop_tokens=frozenset([4]), top_logprobs=2, schema="{}")
    assert done.wait(10)
    assert words[0] == Sampled(1, -0.5, ((1, -0.5), (9, -2.0)))
    _, words, done = _submit(engine, (1, 2), top_logprobs=1, seed=(1 << 64) + 1)
    assert done.wait(10)
    assert words[0] == Sampled(1, -0.5, ((1, -0.5),))
    assert words[-1] == Ended("length")


def test_a_text_ends_at_its_stop_token(begin: Callable[..., VllmEngine]) -> None:
    _, words, done = _submit(begin(), (1, 2, 3, 4), stop_tokens=frozenset([4]))
    assert done.wait(10)
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


def test_an_adapter_goes_along_with_each_text(begin: Callable[..., VllmEngine], tmp_path: Path) -> None:
    said = {"peft_type": "LORA", "r": 9, "rank_pattern": {"q_proj": 33}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    engine = begin(source=ServedSource("model", "texts", str(tmp_path), "m"))
    assert (_AsyncLLM.begun.args.enable_lora, _AsyncLLM.begun.args.max_lora_rank) == (True, 64)
    assert _AsyncLLM.begun.adapters == [("adapter", 1, str(tmp_path))]
    _, words, done = _submit(engine, (1, 2))
    assert done.wait(10)
    assert words[-1] == Ended("length")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no LoRA adapter"):
        begin(source=ServedSource("model", "texts", str(tmp_path), "m"))


def test_a_model_that_vllm_does_not_know_is_told_in_a_line(begin: Callable[..., VllmEngine]) -> None:
    with pytest.raises(ModelError, match=r"vLLM cannot serve nosuch: no such architecture$"):
        begin(source=ServedSource("nosuch", "nosuch", None, "m"))


def test_what_it_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "find_spec", lambda _name: None)
    with pytest.raises(ToolError, match="not installed"):
        VllmEngine(SOURCE, 2048, VllmSettings())
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    engine = VllmEngine(SOURCE, 2048, VllmSettings())
    with pytest.raises(RequestRefused, match="no embeddings"):
        engine.embed([[1]])
    with pytest.raises(RequestRefused, match="2,049 tokens do not fit"):
        _submit(engine, (1,), max_tokens=2048)
    with pytest.raises(RequestRefused, match="holds no text to a schema"):
        _submit(engine, (1,), schema="{}")
    engine.close()
