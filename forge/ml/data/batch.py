"""The batch: what a model is given at once, in the one form that the data, the attention and the loss agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

__all__ = ["IGNORED", "Batch"]

IGNORED: Final = -100
"""The target of a token from which nothing is learned."""


@dataclass(slots=True)
class Batch:
    """Rows of tokens with, for each token, the one that follows it in its document.

    ``targets`` are already shifted and never cross a document. ``lengths`` are those of all documents in the flattened batch, in
    order; the padding at the end of a row is a document of its own. Without them every row is one document, padded
    on the right, so that a causal model needs no mask.
    """

    input_ids: torch.Tensor
    targets: torch.Tensor
    position_ids: torch.Tensor
    lengths: torch.Tensor | None
    tokens: int  # without padding
    trained: int  # targets that are not IGNORED
    ids: tuple[tuple[int, int], ...] = ()  # (source, example) of each piece, in order

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on another device."""
        lengths = None if self.lengths is None else self.lengths.to(device)
        moved = {name: getattr(self, name).to(device) for name in ("input_ids", "targets", "position_ids")}
        return replace(self, lengths=lengths, **moved)
