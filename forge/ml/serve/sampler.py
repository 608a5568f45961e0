"""Choosing the next token of many texts at a time, each by its own settings and its own chance."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from forge.ml.serve.engine import Sampled, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from forge.ml.serve.grammar import Constraint

__all__ = ["Choosing", "choose_tokens"]


@dataclass(slots=True)
class Choosing:
    """What the choice of a text's next token depends on: its settings, its chance, and what was said before."""

    sampling: Sampling
    prompt: Sequence[int] = ()
    constraint: Constraint | None = None
    said: dict[int, int] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        if self.sampling.seed is not None:
            self.chance.seed(self.sampling.seed)

    @property
    def changes_logits(self) -> bool:
        """Whether anything but the temperature and the filters has a say."""
        asked = self.sampling
        penalised = asked.presence_penalty or asked.frequency_penalty or asked.repetition_penalty != 1
        return bool(penalised or asked.logit_bias or self.constraint is not None)

    def note(self, token: int) -> None:
        """Remember a token that was said."""
        self.said[token] = self.said.get(token, 0) + 1


def choose_tokens(logits: Tensor, texts: Sequence[Choosing]) -> list[Sampled]:
    """The next token of each text from its row of logits; the rows are left as they are."""
    logits = logits.float()
    changed = [index for index, text in enumerate(texts) if text.changes_logits]
    adjusted = logits.clone() if changed else logits
    for index in changed:
        _adjust(adjusted[index], texts[index])
    tokens = adjusted.argmax(-1)
    by_chance = [index for index, text in enumerate(texts) if text.sampling.temperature > 0]
    if by_chance:
        tokens[by_chance] = _drawn(adjusted[by_chance], [texts[index] for index in by_chance])
    found = tokens.tolist()
    wanted = [index for index, text in enumerate(texts) if text.sampling.top_logprobs is not None]
    sampled = [Sampled(token) for token in found]
    for index in wanted:
        sampled[index] = _with_logprobs(logits[index], found[index], texts[index].sampling.top_logprobs or 0)
    for text, token in zip(texts, found, strict=True):
        text.note(token)
    return sampled


def _adjust(row: Tensor, text: Choosing) -> None:
    """Apply penalties, biases and the constraint to one row, in place."""
    asked = text.sampling
    if asked.repetition_penalty != 1 and (known := list({*text.prompt, *text.said})):
        index = torch.tensor(known, device=row.device)
        found = row[index]
        row[index] = torch.where(found > 0, found / asked.repetition_penalty, found * asked.repetition_penalty)
    if (asked.presence_penalty or asked.frequency_penalty) and text.said:
        index = torch.tensor(list(text.said), device=row.device)
        counts = torch.tensor(list(text.said.values()), device=row.device, dtype=row.dtype)
        row[index] -= asked.presence_penalty + asked.frequency_penalty * counts
    if asked.logit_bias:
        index = torch.tensor(list(asked.logit_bias), device=row.device)
        row[index] += torch.tensor(list(asked.logit_bias.values()), device=row.device, dtype=row.dtype)
    if text.constraint is not None:
        row[~_allowed(text.constraint.allowed(), len(row)).to(row.device)] = float("-inf")


def _allowed(bits: bytes, count: int) -> Tensor:
    packed = torch.frombuffer(bytearray(bits), dtype=torch.uint8)
    flags = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    flat = flags.flatten().bool()[:count]
    return flat if len(flat) == count else torch.cat([flat, flat.new_zeros(count - len(flat))])


def _drawn(logits: Tensor, texts: Sequence[Choosing]) -> Tensor:
    """A token of each row by chance. Each text draws one number of its own, so that its seed decides whoever runs beside it."""
    column = _column(logits, [text.sampling.temperature for text in texts])
    probabilities = torch.softmax(logits / column, -1)
    order: Tensor | None = None
    if any(text.sampling.top_k or text.sampling.top_p < 1 or text.sampling.min_p for text in texts):
        probabilities, order = probabilities.sort(-1, descending=True)
        probabilities = _filtered(probabilities, [text.sampling for text in texts])
    summed = probabilities.cumsum(-1, dtype=torch.float64)
    drawn = _column(summed, [text.chance.random() for text in texts]) * summed[:, -1:]
    place = torch.searchsorted(summed, drawn, right=True).clamp_(max=summed.shape[-1] - 1)
    return (place if order is None else order.gather(-1, place)).squeeze(-1)


def _filtered(probabilities: Tensor, asked: Sequence[Sampling]) -> Tensor:
    """Probabilities, the greatest first, without the tail that the settings cut off; the first one always stays."""
    before = probabilities.cumsum(-1) - probabilities
    rank = torch.arange(probabilities.shape[-1], device=probabilities.device)
    keep = before < _column(probabilities, [one.top_p for one in asked])
    keep &= rank < _column(probabilities, [one.top_k or probabilities.shape[-1] for one in asked])
    keep &= probabilities >= probabilities[:, :1] * _column(probabilities, [one.min_p for one in asked])
    keep[:, 0] = True
    return probabilities * keep


def _column(like: Tensor, values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)[:, None]


def _with_logprobs(row: Tensor, token: int, count: int) -> Sampled:
    """As the model has them, before the settings change anything."""
    logprobs = torch.log_softmax(row, -1)
    best = torch.topk(logprobs, min(count, len(row)))
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if count else ()
    return Sampled(token, float(logprobs[token]), top)
