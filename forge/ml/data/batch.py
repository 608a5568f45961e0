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

    def padded_to_multiple(self, unit: int) -> Batch:
        """The batch with rows of a multiple of so many tokens; what is added to a row is a document of which nothing is learned."""
        rows, width = self.input_ids.shape
        extra = -width % unit
        if not extra:
            return self
        import torch  # what only reads batches does without
        from torch.nn import functional

        # No further than others go: a model may know no more positions than that.
        positions = torch.arange(extra, dtype=self.position_ids.dtype, device=self.position_ids.device)
        positions = positions.clamp(max=self.position_ids.max()).expand(rows, extra)
        return replace(
            self,
            input_ids=functional.pad(self.input_ids, (0, extra)),
            targets=functional.pad(self.targets, (0, extra), value=IGNORED),
            position_ids=torch.cat([self.position_ids, positions], 1),
            lengths=None if self.lengths is None else _with_tails(self.lengths, width, extra),
        )


def _with_tails(lengths: torch.Tensor, width: int, extra: int) -> torch.Tensor:
    """The lengths of the documents of rows of a width, with one more behind each row."""
    found: list[int] = []
    for end, length in zip(lengths.cumsum(0).tolist(), lengths.tolist(), strict=True):
        found += [length, extra] if end % width == 0 else [length]
    return lengths.new_tensor(found)
