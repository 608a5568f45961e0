"""The data of a run: prepared, held against the model and the tokenizer, and cut into batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from forge.base.errors import DataError
from forge.ml.data.loader import Loader, evaluation_batches
from forge.ml.data.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from forge.ml.train.trainer import Trainer

__all__ = ["Feed", "feed"]


@dataclass(frozen=True, slots=True)
class Feed:
    """What a run reads: the batches it learns from, the batches of each held-out set, and how many steps it takes."""

    loader: Loader
    evaluations: Mapping[str, Callable[[], Any]]
    total_steps: int
    packed: bool


def feed(settings: Trainer, *, flat: bool, console: Console) -> Feed:
    """Prepare the data of a run; rows that cannot be used are told, data that cannot be learned from is an error."""
    prepared = prepare(settings.dataset, settings.tokenizer, progress=console)
    for line in prepared.report.lines():
        console.print(line, markup=False, soft_wrap=True)
    pad = padding_token(settings.tokenizer)
    loader = Loader(
        prepared.train,
        batch_size=settings.per_device_train_batch_size,
        accumulation=settings.gradient_accumulation_steps,
        seed=settings.seed,
        pad_id=pad,
        flat=flat,
    )
    size = settings.per_device_eval_batch_size
    evaluations = {
        name: partial(evaluation_batches, split, size, pad_id=pad, flat=flat)
        for name, split in prepared.held_out.items()
    }
    return Feed(loader, evaluations, _total_steps(settings, loader), prepared.train.packed)


def _total_steps(settings: Trainer, loader: Loader) -> int:
    if settings.max_steps > 0:
        return settings.max_steps
    if loader.steps_per_epoch is None:
        raise DataError("a stream has no known end, so a run cannot go by epochs", hint="set trainer.max_steps")
    return math.ceil(loader.steps_per_epoch * settings.num_train_epochs)


def padding_token(tokenizer: Any) -> int:
    """The token that fills up a row; it is never looked at, so any will do where the tokenizer names none."""
    return next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
