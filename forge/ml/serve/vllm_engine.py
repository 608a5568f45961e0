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

from forge.base.errors import ModelError, ToolError
from forge.ml.serve.engine import Ended, EngineBusy, EngineLoad, RequestRefused, Sampled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from forge.ml.serve.engine import Heard, Sampling, Work
    from forge.ml.serve.sources import ServedSource

__all__ = ["VllmEngine", "VllmSettings"]

_log: Final = logging.getLogger("forge.serve")


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What vLLM is started with, and how many requests may be with it at a time."""

    dtype: str = "auto"
    longest: int | None = None
    slots: int = 32
    waiting: int = 128


class VllmEngine:
    """Hands texts to vLLM. Ending the task of a text is what aborts it there."""

    name = "vllm"
    pooling = ""
    constrains = ""

    def __init__(self, source: ServedSource, longest: int, settings: VllmSettings) -> None:
        if find_spec("vllm") is None:
            raise ToolError("vLLM is not installed", hint="pip install vllm, or leave --engine out")
        if source.adapter is not None:
            raise ModelError("an adapter is not served with --engine vllm", hint="merge it into the model first")
        self.longest = min(longest, settings.longest or longest)
        self._source, self._settings = source, settings
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forge-vllm", daemon=True)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._known = 0
        self._closing = self._failed = False
        self._vllm: Any = None

    def start(self) -> None:
        """Load the model; it takes as long as vLLM takes."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()

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
        """Hand a text over; EngineBusy when vLLM has as many as it should."""
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

    # ---- in its loop

    async def _begin(self) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would tell its makers what is served here
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        asked = AsyncEngineArgs(
            model=self._source.weights,
            tokenizer=self._source.texts,
            dtype=self._settings.dtype,
            max_model_len=self.longest,
            max_num_seqs=self._settings.slots,
            trust_remote_code=False,
        )
        self._vllm = AsyncLLM.from_engine_args(asked)

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
        async for output in self._vllm.generate(request_id=str(number), prompt=prompt, sampling_params=asked):
            (said,) = output.outputs
            for place, token in enumerate(said.token_ids):
                if token not in work.sampling.stop_tokens:
                    heard(_sampled(token, said.logprobs[place] if said.logprobs else None))
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
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repetition_penalty=asked.repetition_penalty,
        logit_bias=dict(asked.logit_bias) or None,
        logprobs=asked.top_logprobs,
        stop_token_ids=sorted(asked.stop_tokens),
        ignore_eos=not asked.stop_tokens,
        structured_outputs=None if asked.schema is None else StructuredOutputsParams(json=asked.schema),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def _sampled(token: int, found: Any) -> Sampled:
    """A token, and what vLLM says of it: the likeliest ones with their ranks, and the token itself."""
    if found is None:
        return Sampled(token)
    best = sorted(found.items(), key=lambda pair: -pair[1].logprob)
    return Sampled(token, found[token].logprob, tuple((other, said.logprob) for other, said in best))
