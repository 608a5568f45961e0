"""Runs to plan: a small llama, and what else a test changes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.optimizer_state import OptimizerPlan
from forge.plan.setup import TrainingSetup
from forge.plan.shape import ModelShape

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.layout import Layout

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "intermediate_size": 1408,
    "vocab_size": 16_384,
    "tie_word_embeddings": True,
}


@pytest.fixture
def setup_for() -> Callable[..., TrainingSetup]:
    """Makes a setup: of a layout, with a dict of changes to the model and others to the run."""

    def make(layout: Layout | None = None, model: dict[str, Any] | None = None, **changes: Any) -> TrainingSetup:
        shape = ModelShape.from_config({**LLAMA, **(model or {})})
        settings = {
            "optimizer": OptimizerPlan(),
            "weights": "float32",
            "batch_size": 4,
            "sequence_length": 512,
            "device": "cpu",
        }
        if layout is not None:
            settings |= {"layout": layout, "ranks": layout.fixed_ranks}
        return TrainingSetup(shape=shape, **{**settings, **changes})

    return make
