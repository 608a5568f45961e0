"""Everything that may import torch; nothing outside this folder does."""

from forge.ml.asides import keep_asides

__all__ = []

keep_asides()
