"""The settings of loggers."""

from __future__ import annotations

import pytest

loggers = pytest.importorskip("forge.ml.train.loggers")
pytestmark = pytest.mark.torch


def test_tensorboard_flushes_at_least_once_a_second() -> None:
    with pytest.raises(ValueError, match="flush_seconds is at least 1"):
        loggers.TensorBoard(flush_seconds=0)


def test_wandb_has_three_modes() -> None:
    with pytest.raises(ValueError, match="online, offline or disabled"):
        loggers.Wandb(project="forge", mode="maybe")
