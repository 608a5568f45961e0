"""Training: what a run consists of, and the loop that runs it."""

from __future__ import annotations

from forge.ml.train.trainer import Trainer

__all__ = ["Trainer"]
