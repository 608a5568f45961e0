"""What a model does for many texts at a time, step by step: it reads prompts, or adds one token to every text that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import ModelError
from forge.ml.serve.engine import Ended, Sampled, Sampling, Work
from forge.ml.serve.pages import ANOTHER_ENGINE, PagedCache, kept_sizes, refusing_others
from forge.ml.serve.sampler import Choosing, choose_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from torch import Tensor

    from forge.ml.serve.engine import Heard

__all__ = ["GrowingText", "Steps"]

_KNOWN_LAYERS: Final = {"full_attention", "sliding_attention"}
_SPARE: Final = 16
"""Tokens that a text may take beside those it has before others have to give way: one page."""


@dataclass(slots=True, eq=False)
class GrowingText:
    """A text in the making: its tokens, those of the prompt and those that were chosen, and how many the model has ``read``."""

    number: int
    work: Work
    heard: Heard
    choosing: Choosing
    tokens: list[int]
    read: int = 0
    begun: bool = False
    """Whether the cache knows it."""

    @property
    def whole(self) -> int:
        """The tokens it may have at its end."""
        return len(self.work.prompt) + self.work.sampling.max_tokens

    @property
    def under_way(self) -> bool:
        """Whether it has said something already."""
        return len(self.tokens) > len(self.work.prompt)


class Steps:
    """The texts that a model works on. For one thread; a step reads ``prefill`` tokens of prompts at most.

    Keys and values of ``tokens`` tokens are kept at most, in pages. Texts are let in by what they have now, and not by what they
    may become: when there is no room left, the youngest gives way.
    """

    def __init__(self, model: Any, *, slots: int, prefill: int, tokens: int, longest: int) -> None:
        self._model = model.eval()
        self._device = next(model.parameters()).device
        self._masks = _masks_of(model.config, next(model.parameters()).dtype)
        self._cache = _cache_for(model, min(tokens, slots * (longest + _SPARE)))
        self._slots, self._prefill = slots, prefill
        self._reading: list[GrowingText] = []  # those of which the model has not read all yet
        self._running: list[GrowingText] = []  # those that get a token at each step
        self._gave_way: list[GrowingText] = []
        self.longest = min(longest, self._cache.tokens)
        """The tokens that one text may have."""

    @property
    def texts(self) -> list[GrowingText]:
        """All texts that are in the making."""
        return [*self._running, *self._reading]

    @property
    def free(self) -> int:
        """The tokens that there is room for."""
        return self._cache.free

    def fits(self, text: GrowingText) -> bool:
        """Whether there is a slot for one more, and room."""
        inside = len(self._running) + len(self._reading)
        asked = sum(len(other.tokens) - other.read for other in [*self._reading, text])
        return inside < self._slots and (not inside or asked + _SPARE * inside <= self._cache.free)

    def take_in(self, text: GrowingText) -> None:
        """Work on one more."""
        self._reading.append(text)

    def step(self) -> list[GrowingText]:
        """Read a part of the prompts, and add a token to all texts that have been read; those that had to give way, the oldest first."""
        if self._reading:
            self._read_prompts()
        if self._running:
            self._add_tokens()
        back, self._gave_way = self._gave_way, []
        return sorted(back, key=lambda text: text.number)

    def let_go(self, numbers: Collection[int]) -> list[GrowingText]:
        """Stop to work on the texts with these numbers, and return them."""
        gone = [text for text in self.texts if text.number in numbers]
        for text in gone:
            self._let_go(text)
        return gone

    def use(self, model: Any) -> None:
        """Go on with another model of the same kind; there is no text in the making."""
        self._model = model.eval()
        self.forget()

    def forget(self) -> None:
        """Give the memory back of what was read; there is no text in the making."""
        self._cache.clear()

    def embedding(self, prompt: Sequence[int], *, mean: bool) -> list[float]:
        """The states of a text as one vector of length one: their mean, or the last."""
        tokens = torch.tensor([list(prompt)], device=self._device)
        states = self._model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[0].float()
        pooled = states.mean(0) if mean else states[-1]
        found: list[float] = (pooled / pooled.norm().clamp(min=1e-12)).tolist()
        return found

    def try_out(self) -> None:
        """ModelError unless the keys and values of this model are of the kind that can be kept, of prompts and of single tokens."""
        sampling = Sampling(1)
        texts = [
            GrowingText(number, Work((0,) * count, sampling), lambda _word: None, Choosing(sampling), [0] * count)
            for number, count in enumerate((1, 2))
        ]
        for text in texts:
            self._cache.begin(text.number, text.tokens)
            self._cache.make_room(text.number, len(text.tokens) + 1)
        with refusing_others():
            self._forward(texts, [text.tokens for text in texts])
            self._forward(texts, [[0]] * len(texts))
        for text in texts:
            self._cache.drop(text.number)
        self.forget()

    # ---- prompts

    def _read_prompts(self) -> None:
        """Read as many whole prompts as a step may, or a part of the first one."""
        batch = self._next_prompts()
        size = min(self._prefill, max(len(text.tokens) - text.read for text in batch))
        parts = {text: text.tokens[text.read : text.read + size] for text in batch}
        read = [text for text in batch if self._make_room(text, len(parts[text]))]
        read = [text for text in read if text.begun]  # one may have had to make room for another
        if not read:
            return
        logits = self._forward(read, [parts[text] for text in read])
        whole = [place for place, text in enumerate(read) if text.read == len(text.tokens)]
        texts = [read[place] for place in whole]
        for text in texts:
            self._reading.remove(text)
        self._running.extend(texts)
        if texts:
            self._take_tokens(texts, logits[whole])

    def _next_prompts(self) -> list[GrowingText]:
        batch: list[GrowingText] = []
        longest = 0
        for text in self._reading:
            if not text.begun:
                text.read, text.begun = self._cache.begin(text.number, text.tokens), True
            longest = max(longest, len(text.tokens) - text.read)
            if batch and (len(batch) + 1) * longest > self._prefill:
                break
            batch.append(text)
        return batch

    def _make_room(self, text: GrowingText, count: int) -> bool:
        """Take room for more tokens of a text. Where there is none, the youngest gives way, which may be that text itself."""
        while text.begun and not self._cache.make_room(text.number, count):
            inside = [other for other in self.texts if other.begun]
            self._put_back(max(inside, key=lambda other: other.number))
        return text.begun

    def _put_back(self, text: GrowingText) -> None:
        """Let a text wait again: later it is read from its beginning, as far as it has come."""
        self._let_go(text)
        text.read, text.begun = 0, False
        self._gave_way.append(text)

    # ---- tokens

    def _add_tokens(self) -> None:
        for text in sorted(self._running, key=lambda text: text.number):
            self._make_room(text, 1)
        if texts := list(self._running):
            self._take_tokens(texts, self._forward(texts, [text.tokens[-1:] for text in texts]))

    def _forward(self, texts: Sequence[GrowingText], parts: Sequence[Sequence[int]]) -> Tensor:
        """The logits behind the last token of each part, which is what a text goes on with."""
        counts = [len(part) for part in parts]
        width = max(counts)
        tokens = torch.tensor([[*part, *[0] * (width - len(part))] for part in parts], device=self._device)
        first = torch.tensor([[text.read] for text in texts], device=self._device)
        positions = first + torch.arange(width, device=self._device)
        length = self._cache.place([text.number for text in texts], positions, counts)
        kept = sorted(set(counts))
        found = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._masks(positions, length),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.tensor([count - 1 for count in kept], device=self._device),
        ).logits
        for text, part in zip(texts, parts, strict=True):
            self._cache.note(text.number, part)
            text.read += len(part)
        if len(kept) == 1:
            return found[:, 0]
        return found[torch.arange(len(counts), device=self._device), [kept.index(count) for count in counts]]

    def _take_tokens(self, texts: Sequence[GrowingText], logits: Tensor) -> None:
        for text, sampled in zip(texts, choose_tokens(logits, [text.choosing for text in texts]), strict=True):
            ended = self._take(text, sampled)
            if ended is not None:
                self._let_go(text)
                text.heard(ended)

    def _take(self, text: GrowingText, sampled: Sampled) -> Ended | None:
        """Hand a token on; what ends the text, when something does."""
        asked = text.work.sampling
        if sampled.token in asked.stop_tokens:
            return Ended("stop")
        text.tokens.append(sampled.token)
        text.heard(sampled)
        constraint = text.choosing.constraint
        if constraint is not None and not constraint.take(sampled.token):
            return Ended("stop")
        return Ended("length") if len(text.tokens) >= text.whole else None

    def _let_go(self, text: GrowingText) -> None:
        (self._running if text in self._running else self._reading).remove(text)
        if text.begun:
            self._cache.drop(text.number)


def _cache_for(model: Any, tokens: int) -> PagedCache:
    weight = next(model.parameters())
    return PagedCache(kept_sizes(model), tokens, device=weight.device, dtype=weight.dtype)


def _masks_of(config: Any, dtype: torch.dtype) -> Callable[[Tensor, int], Any]:
    """A function for the masks that such a model takes; ModelError for one whose memory is more than keys and values."""
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or [])
    if unknown := kinds - _KNOWN_LAYERS:
        raise ModelError(
            f"models with layers of the kind {min(unknown)} cannot be served by this engine", hint=ANOTHER_ENGINE
        )
    if not kinds:
        kinds = {"sliding_attention" if window else "full_attention"}

    def masks(positions: Tensor, length: int) -> Any:
        made = {
            kind: _mask(positions, length, window if kind == "sliding_attention" else None, dtype) for kind in kinds
        }
        return made if len(made) > 1 else next(iter(made.values()))

    return masks


def _mask(positions: Tensor, length: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """What is added where tokens attend [rows, 1, tokens, length]: nothing at places up to their own, inside the window.

    Numbers, as every attention takes them; of truth values each layer would make these anew.
    """
    places = torch.arange(length, device=positions.device)
    unseen = places > positions[:, :, None]
    if window is not None:
        unseen |= places <= positions[:, :, None] - window
    return torch.zeros(unseen.shape, dtype=dtype, device=positions.device).masked_fill_(unseen, float("-inf"))[:, None]
