"""Models: Hugging Face decoders used as they are."""

from __future__ import annotations

from forge.ml.models.causal import causal_lm, deferred_weights, materialise

__all__ = ["causal_lm", "deferred_weights", "materialise"]
