"""The loss of held-out data, and what is the same, how many tokens the model wavers between."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.ml.evaluate.mode import evaluation_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forge.ml.data.batch import Batch
    from forge.ml.loss import CausalLoss
    from forge.ml.memory.precision import Precision
    from forge.ml.parallel.world import World

__all__ = ["MEASURED", "evaluate"]

MEASURED: Final = ("eval_loss", "perplexity")
"""What an evaluation measures, the lower the better."""


def evaluate(
    loss: CausalLoss,
    batches: Iterable[Batch],
    device: torch.device | str,
    precision: Precision,
    world: World | None = None,
) -> dict[str, Any]:
    """The mean loss over all learned tokens, each weighing the same however they are cut into batches.

    `tokens` is their number; without any, the loss is not a number. The processes of a ``world`` each have batches of their own,
    the same number of them, and all get the same answer.
    """
    together = world is not None and not world.alone
    sums: list[torch.Tensor] = []
    tokens = 0
    with evaluation_mode(loss.model):
        for some in _together(batches, loss):
            learned = sum(batch.trained for batch in some)
            if learned or together:
                sums.append(_total(loss, some, device, precision))
                tokens += learned
    # One wait for the device at the end. Sums of sums are taken in double: the more data, the more digits they need.
    total = float(torch.stack(sums).cpu().double().sum()) if sums else 0.0
    if world is not None:
        (tokens,), (total,) = world.sum([tokens], "data"), world.sum([total], "loss")
    mean = total / tokens if tokens else math.nan
    return {"eval_loss": mean, "perplexity": _exp(mean), "tokens": int(tokens)}


def _together(batches: Iterable[Batch], loss: Any) -> Iterator[list[Batch]]:
    """As many batches at a time as go through the model together: several in a pipeline."""
    left = iter(batches)
    while some := list(islice(left, getattr(loss, "microbatches", 1))):
        yield some


def _total(loss: Any, batches: list[Batch], device: torch.device | str, precision: Precision) -> torch.Tensor:
    if hasattr(loss, "evaluate"):
        return loss.evaluate(batches, precision.autocast)
    with precision.autocast():
        return loss.total(batches[0].to(device))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
