"""Training: what a run consists of."""

from __future__ import annotations

from forge.ml.train.trainer import Trainer

__all__ = ["Trainer"]
