"""vLLM as the engine, where it is installed: its own loop in a thread, behind the same interface as forge's."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError, ModelError, ToolError
from forge.base.json_file import read_json
from forge.base.machine_memory import free_memory
from forge.ml.serve.engine import Ended, EngineBusy, EngineLoad, RequestRefused, Sampled
from forge.ml.serve.grammar import missing_grammars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from forge.ml.serve.engine import Heard, Sampling, Work
    from forge.ml.serve.grammar import Grammars
    from forge.ml.serve.sources import ServedSource

__all__ = ["VllmEngine", "VllmSettings"]

_log: Final = logging.getLogger("forge.serve")
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
_SEEDS: Final = 1 << 63  # larger ones end its engine
_LONGEST: Final = 1 << 20
_PAGE: Final = 128
"""More tokens than one of its pages has."""
_ITS_OWN: Final = {
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers what is served here
    "VLLM_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What vLLM is started with, and how many requests may be with it at a time."""

    dtype: str = "auto"
    longest: int | None = None
    slots: int = 32
    waiting: int = 128


class VllmEngine:
    """Hands texts to vLLM. Ending the task of a text is what aborts it there; ``grammars`` look at schemas before it does."""

    name = "vllm"
    pooling = ""

    def __init__(
        self, source: ServedSource, longest: int, settings: VllmSettings, grammars: Grammars | None = None
    ) -> None:
        if find_spec("vllm") is None:
            raise ToolError("vLLM is not installed", hint="pip install vllm, or leave --engine out")
        self.longest = min(longest, settings.longest or longest)
        self.constrains = missing_grammars() if grammars is not None else "this server holds no text to a schema"
        self._source, self._settings, self._grammars = source, settings, grammars
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forge-vllm", daemon=True)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._known = 0
        self._adapter: Any = None
        self._closing = self._failed = False
        self._vllm: Any = None

    def start(self) -> None:
        """Load the model, which takes as long as vLLM takes; ModelError when it cannot."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"vLLM cannot serve {self._source.weights}: {reason}") from error

    def close(self) -> None:
        """Abort everything and end."""
        self._closing = True
        if not self._thread.is_alive():
            self._loop.close()
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, work: Work, heard: Heard) -> int:
        """Hand a text over; EngineBusy when vLLM has as many as it should, RequestRefused when it would not do it."""
        self._look_at(work)
        if self._closing or self._failed:
            raise EngineBusy("the server is ending", later=10, stopping=True)
        if self._known >= self._settings.slots + self._settings.waiting:
            raise EngineBusy("too many requests wait already")
        number = next(self._numbers)
        self._known += 1
        self._loop.call_soon_threadsafe(self._take_on, number, work, heard)
        return number

    def cancel(self, number: int) -> None:
        """Forget a text."""
        self._loop.call_soon_threadsafe(self._drop, number)

    def embed(self, prompts: Sequence[Sequence[int]]) -> Future[list[list[float]]]:
        """Not by this engine."""
        raise RequestRefused(f"the engine vllm makes no embeddings here ({len(prompts)} asked for)", "input")

    @property
    def load(self) -> EngineLoad:
        """What it has to do now."""
        running = min(self._known, self._settings.slots)
        return EngineLoad(running, self._known - running, not self._failed)

    def _look_at(self, work: Work) -> None:
        """RequestRefused for what vLLM would only refuse when the answer has begun."""
        whole = len(work.prompt) + work.sampling.max_tokens
        if whole > self.longest:
            raise RequestRefused(f"{whole:,} tokens do not fit: this model takes {self.longest:,} at most")
        if work.sampling.schema is not None:
            if self._grammars is None or self.constrains:
                raise RequestRefused(self.constrains, "response_format")
            self._grammars.begin(work.sampling.schema)

    # ---- in its loop

    async def _begin(self) -> None:
        for name, value in _ITS_OWN.items():
            os.environ.setdefault(name, value)
        from vllm.v1.engine.async_llm import AsyncLLM

        self._vllm = AsyncLLM.from_engine_args(self._arguments())
        if self._source.adapter is not None:
            from vllm.lora.request import LoRARequest

            self._adapter = LoRARequest("adapter", 1, self._source.adapter)
            await self._vllm.add_lora(self._adapter)

    def _arguments(self) -> Any:
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform

        asked = AsyncEngineArgs(
            model=self._source.weights,
            tokenizer=self._source.texts,
            dtype=self._settings.dtype,
            max_model_len=self.longest,
            max_num_seqs=self._settings.slots,
            trust_remote_code=False,
            generation_config="vllm",  # what a request leaves open is filled in before it comes here
            structured_outputs_config={"backend": "guidance", "disable_any_whitespace": True},  # as forge's own engine
        )
        if self._source.adapter is not None:
            asked.enable_lora, asked.max_lora_rank = True, _room_for(_rank(self._source.adapter))
        if current_platform.is_cpu():
            # There it would take nearly all memory, and compile, for which it needs a compiler.
            asked.kv_cache_memory_bytes, asked.enforce_eager = self._cache_on_a_processor(asked), True
        return asked

    def _cache_on_a_processor(self, asked: Any) -> int:
        """The bytes of keys and values when all texts are as long as they may be; a half of the free memory at most."""
        model = asked.create_model_config()
        numbers = model.get_total_num_hidden_layers() * model.get_total_num_kv_heads() * model.get_head_size()
        wanted = 2 * numbers * model.dtype.itemsize * (self.longest + _PAGE) * self._settings.slots
        return int(min(wanted, free_memory() // 2))

    async def _finish(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._vllm is not None:
            self._vllm.shutdown()

    def _take_on(self, number: int, work: Work, heard: Heard) -> None:
        task = self._loop.create_task(self._generate(number, work, heard))
        self._tasks[number] = task
        task.add_done_callback(lambda _task: self._forget(number))

    def _drop(self, number: int) -> None:
        if number in self._tasks:
            self._tasks[number].cancel()

    def _forget(self, number: int) -> None:
        del self._tasks[number]
        self._known -= 1

    async def _generate(self, number: int, work: Work, heard: Heard) -> None:
        try:
            heard(await self._stream(number, work, heard))
        except asyncio.CancelledError:
            heard(Ended("cancelled"))
        except Exception:  # noqa: BLE001 - whatever it is, the one who waits must hear of it
            _log.exception("vLLM could not finish a text")
            # It refuses some requests by errors, and goes on with the others.
            self._failed = bool(self._vllm.errored)
            heard(Ended("error", "the engine failed"))

    async def _stream(self, number: int, work: Work, heard: Heard) -> Ended:
        prompt = {"prompt_token_ids": list(work.prompt)}
        asked = _sampling_params(work.sampling)
        reason = "length"
        async for output in self._vllm.generate(
            request_id=str(number), prompt=prompt, sampling_params=asked, lora_request=self._adapter
        ):
            (said,) = output.outputs
            for place, token in enumerate(said.token_ids):
                if token not in work.sampling.stop_tokens:
                    logprobs = said.logprobs[place] if said.logprobs else None
                    heard(_sampled(token, logprobs, work.sampling.top_logprobs or 0))
            reason = said.finish_reason or reason
        return Ended("length" if reason == "length" else "stop")


def _sampling_params(asked: Sampling) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        seed=None if asked.seed is None else asked.seed % _SEEDS,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repetition_penalty=asked.repetition_penalty,
        logit_bias=dict(asked.logit_bias) or None,
        logprobs=asked.top_logprobs,
        stop_token_ids=sorted(asked.stop_tokens),
        ignore_eos=not asked.stop_tokens and asked.schema is None,
        structured_outputs=None if asked.schema is None else StructuredOutputsParams(json=asked.schema),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def _sampled(token: int, found: Any, count: int) -> Sampled:
    """A token, and what vLLM says of it: so many of the likeliest ones, and the token itself."""
    if found is None:
        return Sampled(token)
    best = sorted(found.items(), key=lambda pair: -pair[1].logprob)[:count]
    return Sampled(token, found[token].logprob, tuple((other, said.logprob) for other, said in best))


def _rank(adapter: str) -> int:
    try:
        found = read_json(os.path.join(adapter, "adapter_config.json"), _LONGEST)
        return max([int(found["r"]), *map(int, (found.get("rank_pattern") or {}).values())])
    except (ForgeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the folder {adapter} holds no LoRA adapter ({str(error)[:100]})") from error


def _room_for(rank: int) -> int:
    """The least of the ranks that vLLM can be told which is enough."""
    return next((known for known in _RANKS if known >= rank), rank)
