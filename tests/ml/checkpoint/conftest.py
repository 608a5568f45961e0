"""Small checkpoints without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.checkpoint.manifest import Score
from forge.ml.checkpoint.store import Store
from forge.ml.checkpoint.tensors import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def add_checkpoint(store: Store, step: int, score: float | None = None, **facts: Any) -> str:
    """Save a small checkpoint and return its path."""
    with store.begin(step) as stage:
        stage.write_bytes("config.json", f'{{"step": {step}}}'.encode())
        stage.write_tensors("model.safetensors", {"w": Raw("U8", (8,), step.to_bytes(8, "little"))})
        stage.write_json("state/state.json", {"format": 1, "parts": {"step": step}})
        return stage.commit(facts, None if score is None else Score("eval_loss", score))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "model" / "checkpoints")
    yield made
    made.release()


@pytest.fixture
def add(store: Store) -> Callable[..., str]:
    """``add(100, score=1.5)`` saves a checkpoint into ``store``."""
    return lambda step, score=None, **facts: add_checkpoint(store, step, score, **facts)
