"""The engine of forge's own: continuous batching on a model of transformers, on a processor or a GPU.

One thread runs the model. Between two steps it looks at what has come in and what was cancelled; each step either reads
prompts (a bounded number of tokens, so that others do not wait long) or adds one token to every text that runs.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.ml.serve.engine import Ended, EngineBusy, EngineLoad, RequestRefused
from forge.ml.serve.grammar import missing_grammars
from forge.ml.serve.sampler import Choosing
from forge.ml.serve.steps import GrowingText, Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.serve.engine import Heard, Work
    from forge.ml.serve.grammar import Grammars

__all__ = ["Batcher", "BatcherLimits"]

_log: Final = logging.getLogger("forge.serve")
_KEPT: Final = 300.0
"""Seconds without work after which what was read is forgotten."""


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    """How much a batcher takes on: texts at a time, texts that wait, tokens of a text, prompt tokens of a step, and cached tokens."""

    slots: int = 32
    waiting: int = 128
    longest: int = 2048
    prefill: int = 512
    cached: int = 1 << 16


@dataclass(slots=True)
class _Embedding:
    prompts: list[list[int]]
    result: Future[list[list[float]]]


class Batcher:
    """Generates texts with a causal model of transformers. ``grammars`` hold texts to a schema; ``pooling`` allows embeddings."""

    name = "forge"

    def __init__(
        self, model: Any, limits: BatcherLimits, *, grammars: Grammars | None = None, pooling: str = ""
    ) -> None:
        self.pooling = pooling
        self.constrains = missing_grammars() if grammars is not None else "this server holds no text to a schema"
        self._limits = limits
        self._grammars = grammars
        self._steps = Steps(
            model, slots=limits.slots, prefill=limits.prefill, tokens=limits.cached, longest=limits.longest
        )
        self.longest = self._steps.longest
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._waiting: deque[GrowingText] = deque()
        self._embeddings: deque[_Embedding] = deque()
        self._cancelled: set[int] = set()
        self._swap: tuple[Any, Future[None]] | None = None
        self._stopping = False
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="forge-engine", daemon=True)

    # ---- from any thread

    def start(self) -> None:
        """Begin to work; ModelError when this model's keys and values are not of the kind that can be kept."""
        with torch.inference_mode():
            self._steps.try_out()
        self._thread.start()

    def close(self) -> None:
        """Cancel everything and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, work: Work, heard: Heard) -> int:
        """Take on a text; EngineBusy when too many wait."""
        text = GrowingText(next(self._numbers), work, heard, self._choosing(work), list(work.prompt))
        if text.whole > self.longest:
            raise RequestRefused(f"{text.whole:,} tokens do not fit: this model takes {self.longest:,} at most")
        with self._changed:
            self._check_room()
            self._waiting.append(text)
            self._changed.notify()
        return text.number

    def cancel(self, number: int) -> None:
        """Forget a text."""
        with self._changed:
            self._cancelled.add(number)
            self._changed.notify()

    def embed(self, prompts: Sequence[Sequence[int]]) -> Future[list[list[float]]]:
        """An embedding for each prompt, by the pooling that was chosen, of length one."""
        if not self.pooling:
            raise RequestRefused("this model makes no embeddings: start the server with --pooling mean, or last")
        if any(len(prompt) > self.longest for prompt in prompts):
            raise RequestRefused(f"a text has more than the {self.longest:,} tokens that this model takes", "input")
        wanted = _Embedding([list(prompt) for prompt in prompts], Future())
        with self._changed:
            self._check_room()
            self._embeddings.append(wanted)
            self._changed.notify()
        return wanted.result

    def replace_model(self, model: Any) -> Future[None]:
        """Go on with another model of the same kind, once no text is in the making; meanwhile new ones wait."""
        done: Future[None] = Future()
        with self._changed:
            self._swap = (model.eval(), done)
            self._changed.notify()
        return done

    @property
    def load(self) -> EngineLoad:
        """What it has to do now."""
        waiting = len(self._waiting) + len(self._embeddings)
        return EngineLoad(len(self._steps.texts), waiting, not self._failed)

    def _check_room(self) -> None:
        if self._stopping or self._failed:
            raise EngineBusy("the server is ending", later=10, stopping=True)
        if len(self._waiting) + len(self._embeddings) >= self._limits.waiting:
            raise EngineBusy("too many requests wait already")

    def _choosing(self, work: Work) -> Choosing:
        constraint = None
        if work.sampling.schema is not None:
            if self._grammars is None or self.constrains:
                raise RequestRefused(self.constrains, "response_format")
            constraint = self._grammars.begin(work.sampling.schema)
        return Choosing(work.sampling, work.prompt, constraint)

    # ---- the engine's thread

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._step()
        except Exception:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            _log.exception("the engine failed")
            self._failed = True
        finally:
            self._end_all()

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when it is time to end."""
        with self._changed:
            while not (self._stopping or self._has_work()):
                if not self._changed.wait(_KEPT):
                    self._steps.forget()
            return not self._stopping

    def _has_work(self) -> bool:
        return bool(self._waiting or self._steps.texts or self._embeddings or self._cancelled or self._swap)

    def _step(self) -> None:
        self._forget_cancelled()
        self._take_model()
        self._admit()
        if self._embeddings:
            self._embed(self._embeddings.popleft())
        gave_way = self._steps.step()
        with self._changed:
            self._waiting.extendleft(reversed(gave_way))

    def _forget_cancelled(self) -> None:
        with self._changed:
            gone, self._cancelled = self._cancelled, set()
            left = [text for text in self._waiting if text.number in gone]
            for text in left:
                self._waiting.remove(text)
        if gone:
            for text in [*left, *self._steps.let_go(gone)]:
                text.heard(Ended("cancelled"))

    def _take_model(self) -> None:
        """Take the other model that is there, once no text has said anything by this one."""
        if self._swap is None or self._steps.texts or any(text.under_way for text in self._waiting):
            return
        (model, done), self._swap = self._swap, None
        self._steps.use(model)
        done.set_result(None)

    def _admit(self) -> None:
        """Let those that wait come in, as long as there are slots and room; before another model comes only who was in before."""
        with self._changed:
            while self._waiting and self._steps.fits(self._waiting[0]):
                if self._swap is not None and not self._waiting[0].under_way:
                    return
                self._steps.take_in(self._waiting.popleft())

    # ---- embeddings

    def _embed(self, wanted: _Embedding) -> None:
        try:
            mean = self.pooling == "mean"
            wanted.result.set_result([self._steps.embedding(prompt, mean=mean) for prompt in wanted.prompts])
        except Exception as error:
            wanted.result.set_exception(error)
            raise

    # ---- the end

    def _end_all(self) -> None:
        with self._changed:
            self._stopping = True
            texts = [*self._waiting, *self._steps.texts]
            embeddings = list(self._embeddings)
            self._waiting.clear()
            self._embeddings.clear()
            self._steps.let_go({text.number for text in texts})
        ended = Ended("error", "the engine failed") if self._failed else Ended("cancelled")
        for text in texts:
            text.heard(ended)
        for wanted in embeddings:
            wanted.result.set_exception(EngineBusy("the server is ending", later=10, stopping=True))
