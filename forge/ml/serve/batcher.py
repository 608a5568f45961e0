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

from forge.base.errors import ModelError
from forge.ml.serve.engine import Ended, EngineBusy, EngineLoad, RequestRefused, Sampled
from forge.ml.serve.grammar import missing_grammars
from forge.ml.serve.sampler import Choosing, choose_tokens
from forge.ml.serve.slots import SlotCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from forge.ml.serve.engine import Heard, Work
    from forge.ml.serve.grammar import Constraint, Grammars

__all__ = ["Batcher", "BatcherLimits"]

_log: Final = logging.getLogger("forge.serve")
_KNOWN_LAYERS: Final = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    """How much a batcher takes on: texts at a time, texts that wait, tokens of a text, prompt tokens of a step, and cached tokens."""

    slots: int = 32
    waiting: int = 128
    longest: int = 2048
    prefill: int = 512
    cached: int = 1 << 20


@dataclass(slots=True, eq=False)
class _Text:
    """A text in the making. ``read`` counts the tokens of the prompt that the model has seen."""

    number: int
    work: Work
    heard: Heard
    choosing: Choosing
    read: int = 0
    length: int = 0
    """The tokens whose keys and values are cached."""
    made: int = 0
    next: int = 0
    """The last token that was chosen; it is what the model reads next."""

    @property
    def whole(self) -> int:
        """The tokens it may have at its end."""
        return len(self.work.prompt) + self.work.sampling.max_tokens

    @property
    def constraint(self) -> Constraint | None:
        return self.choosing.constraint


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
        self.longest = min(limits.longest, limits.cached)
        self.pooling = pooling
        self.constrains = missing_grammars() if grammars is not None else "this server holds no text to a schema"
        self._limits = limits
        self._grammars = grammars
        self._model = model.eval()
        self._device = next(model.parameters()).device
        self._masks = _masks_of(model.config)
        self._cache = SlotCache(_layer_count(model.config))
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._waiting: deque[_Text] = deque()
        self._embeddings: deque[_Embedding] = deque()
        self._cancelled: set[int] = set()
        self._reading: deque[_Text] = deque()  # prompts that are being read; only the first may be half read
        self._running: list[_Text] = []  # by their rows; those that are being read have the rows behind
        self._swap: tuple[Any, Future[None]] | None = None
        self._stopping = False
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="forge-engine", daemon=True)

    # ---- from any thread

    def start(self) -> None:
        """Begin to work."""
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
        text = _Text(next(self._numbers), work, heard, self._choosing(work))
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
        return EngineLoad(len(self._running) + len(self._reading), waiting, not self._failed)

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
                self._cache.release()
                self._changed.wait()
            return not self._stopping

    def _has_work(self) -> bool:
        return bool(
            self._waiting or self._reading or self._running or self._embeddings or self._cancelled or self._swap
        )

    def _step(self) -> None:
        self._forget_cancelled()
        if self._swap is not None and not (self._running or self._reading):
            self._take_model()
        self._admit()
        if self._embeddings:
            self._embed(self._embeddings.popleft())
        if self._reading:
            self._read_prompts()
        if self._running:
            self._add_tokens()

    def _forget_cancelled(self) -> None:
        with self._changed:
            gone, self._cancelled = self._cancelled, set()
            left = [text for text in self._waiting if text.number in gone]
            for text in left:
                self._waiting.remove(text)
        if not gone:
            return
        left += [text for text in self._running if text.number in gone]
        for text in [text for text in self._running if text.number in gone]:
            self._free(text)
        for text in [text for text in self._reading if text.number in gone]:
            self._reading.remove(text)
            left.append(text)
        for text in left:
            text.heard(Ended("cancelled"))

    def _take_model(self) -> None:
        model, done = self._swap or (None, Future())
        self._model, self._swap = model, None
        self._cache.release()
        done.set_result(None)

    def _admit(self) -> None:
        """Let those that wait come in, as long as there are slots and room."""
        if self._swap is not None:
            return
        with self._changed:
            while self._waiting and self._fits(self._waiting[0]):
                self._reading.append(self._waiting.popleft())

    def _fits(self, text: _Text) -> bool:
        inside = [*self._running, *self._reading, text]
        length = max(other.whole for other in inside)
        return len(inside) <= self._limits.slots and (len(inside) * length <= self._limits.cached or len(inside) == 1)

    # ---- prompts

    def _read_prompts(self) -> None:
        """Read as many whole prompts as a step may, or a part of the first one."""
        batch = self._next_prompts()
        size = min(self._limits.prefill, max(len(text.work.prompt) - text.read for text in batch))
        parts = [text.work.prompt[text.read : text.read + size] for text in batch]
        positions = torch.tensor([[text.read + place for place in range(size)] for text in batch])
        tokens = torch.tensor([[*part, *[0] * (size - len(part))] for part in parts])
        last = [len(part) - 1 for part in parts]
        logits = self._forward(len(self._running), tokens, positions, last)
        for text, part in zip(batch, parts, strict=True):
            text.read += len(part)
            text.length = text.read
        if batch[0].read == len(batch[0].work.prompt):
            for text in batch:
                self._reading.remove(text)
            self._running.extend(batch)
            self._take_tokens(batch, logits)

    def _next_prompts(self) -> list[_Text]:
        first, *others = self._reading
        batch, longest = [first], len(first.work.prompt) - first.read
        for text in others:
            longest = max(longest, len(text.work.prompt))
            if (len(batch) + 1) * longest > self._limits.prefill:
                break
            batch.append(text)
        return batch

    # ---- tokens

    def _add_tokens(self) -> None:
        texts = list(self._running)
        tokens = torch.tensor([[text.next] for text in texts])
        positions = torch.tensor([[text.length] for text in texts])
        logits = self._forward(0, tokens, positions, [0] * len(texts))
        for text in texts:
            text.length += 1
        self._take_tokens(texts, logits)

    def _forward(self, first: int, tokens: Tensor, positions: Tensor, last: Sequence[int]) -> Tensor:
        """The logits behind the last token of each row."""
        length = int(positions.max()) + 1
        self._cache.reserve(first + len(tokens), length)
        positions = positions.to(self._device)
        self._cache.place(first, positions, length)
        kept = sorted(set(last))
        found = self._model(
            input_ids=tokens.to(self._device),
            position_ids=positions,
            attention_mask=self._masks(positions, length),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.tensor(kept, device=self._device),
        ).logits
        if len(kept) == 1:
            return found[:, 0]
        return found[torch.arange(len(last), device=self._device), [kept.index(place) for place in last]]

    def _take_tokens(self, texts: Sequence[_Text], logits: Tensor) -> None:
        for text, sampled in zip(texts, choose_tokens(logits, [text.choosing for text in texts]), strict=True):
            ended = self._take(text, sampled)
            if ended is not None:
                self._free(text)
                text.heard(ended)

    def _take(self, text: _Text, sampled: Sampled) -> Ended | None:
        """Hand a token on; what ends the text, when something does."""
        asked = text.work.sampling
        if sampled.token in asked.stop_tokens:
            return Ended("stop")
        text.next = sampled.token
        text.made += 1
        text.heard(sampled)
        if text.constraint is not None and not text.constraint.take(sampled.token):
            return Ended("stop")
        return Ended("length") if text.made >= asked.max_tokens else None

    def _free(self, text: _Text) -> None:
        """Give the row of a text to the last text that runs, and that one's to the prompt that is half read."""
        row, last = self._running.index(text), len(self._running) - 1
        if row != last:
            self._cache.move(last, row, self._running[last].length)
            self._running[row] = self._running[last]
        self._running.pop()
        if self._reading and self._reading[0].read:
            self._cache.move(last + 1, last, self._reading[0].read)

    # ---- embeddings

    def _embed(self, wanted: _Embedding) -> None:
        try:
            wanted.result.set_result([self._embedding(prompt) for prompt in wanted.prompts])
        except Exception as error:
            wanted.result.set_exception(error)
            raise

    def _embedding(self, prompt: list[int]) -> list[float]:
        tokens = torch.tensor([prompt], device=self._device)
        states = self._model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[0].float()
        pooled = states.mean(0) if self.pooling == "mean" else states[-1]
        return (pooled / pooled.norm().clamp(min=1e-12)).tolist()

    # ---- the end

    def _end_all(self) -> None:
        with self._changed:
            self._stopping = True
            texts = [*self._waiting, *self._reading, *self._running]
            embeddings = list(self._embeddings)
            for gone in (self._waiting, self._reading, self._running, self._embeddings):
                gone.clear()
        ended = Ended("error", "the engine failed") if self._failed else Ended("cancelled")
        for text in texts:
            text.heard(ended)
        for wanted in embeddings:
            wanted.result.set_exception(EngineBusy("the server is ending", later=10, stopping=True))


def _layer_count(config: Any) -> int:
    return config.get_text_config().num_hidden_layers


def _masks_of(config: Any) -> Callable[[Tensor, int], Any]:
    """A function for the masks that such a model takes; ModelError for one whose memory is more than keys and values."""
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or [])
    if unknown := kinds - _KNOWN_LAYERS:
        raise ModelError(f"models with layers of the kind {min(unknown)} cannot be served by this engine")
    if not kinds:
        kinds = {"sliding_attention" if window else "full_attention"}

    def masks(positions: Tensor, length: int) -> Any:
        made = {kind: _mask(positions, length, window if kind == "sliding_attention" else None) for kind in kinds}
        return made if len(made) > 1 else next(iter(made.values()))

    return masks


def _mask(positions: Tensor, length: int, window: int | None) -> Tensor:
    """Which places each token attends to [rows, 1, tokens, length]: those up to its own, inside the window."""
    places = torch.arange(length, device=positions.device)
    seen = places <= positions[:, :, None]
    if window is not None:
        seen &= places > positions[:, :, None] - window
    return seen[:, None]
