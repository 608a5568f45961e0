"""The loss of a batch, without the logits of all its tokens ever being in memory at once."""

from __future__ import annotations

from forge.ml.loss.causal import CausalLoss

__all__ = ["CausalLoss"]
