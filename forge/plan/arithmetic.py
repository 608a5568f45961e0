"""The arithmetic of a run: tokens and computations of a step, steps of an epoch and of the run."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.plan.setup import TrainingSetup

__all__ = ["RunArithmetic", "arithmetic", "step_operations"]


@dataclass(frozen=True)
class RunArithmetic:
    """How large a step is and how many there are; None where the number of tokens of the data has not been told."""

    rows_per_step: int
    tokens_per_step: int
    operations_per_step: float
    steps_per_epoch: int | None
    steps: int | None
    tokens: int | None
    epochs: float | None


def arithmetic(
    setup: TrainingSetup, *, max_steps: int = -1, epochs: float = 1.0, data_tokens: int | None = None
) -> RunArithmetic:
    """The arithmetic of a run over data of so many tokens; rows are taken to be full.

    Epochs follow one another without a gap, so that a step that the data cannot fill is filled from the next one.
    """
    rows = setup.batch_size * setup.accumulation * setup.replicas
    tokens = setup.tokens_per_step
    steps = max_steps if max_steps > 0 else None if data_tokens is None else _steps(epochs * data_tokens, tokens)
    return RunArithmetic(
        rows_per_step=rows,
        tokens_per_step=tokens,
        operations_per_step=step_operations(setup),
        steps_per_epoch=None if data_tokens is None else _steps(data_tokens, tokens),
        steps=steps,
        tokens=None if steps is None else steps * tokens,
        epochs=None if data_tokens is None or steps is None else steps * tokens / data_tokens,
    )


def _steps(tokens: float, each: int) -> int:
    """The steps of so many tokens that see all of these."""
    return max(1, ceil(round(tokens, 6) / each))


def step_operations(setup: TrainingSetup) -> float:
    """The floating-point operations of the model in one step: three passes, causal attention counted by half.

    What is computed again under checkpoints is not counted; frozen weights need no gradients of their own, so an adapter takes two.
    """
    shape = setup.shape
    embedding = (
        shape.embedding_parameters if not shape.tied else shape.embedding_parameters - shape.vocab * shape.hidden
    )
    products = shape.used_parameters - embedding
    look = min(setup.sequence_length, shape.window or setup.sequence_length)
    attention = 2 * shape.layers * shape.queries * look  # scores and what they weigh, half of the pairs
    passes = 3 if setup.adapter_rank is None else 2
    return float(passes * (2 * products + attention) * setup.tokens_per_step)
