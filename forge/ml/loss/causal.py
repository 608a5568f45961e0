"""The loss of a causal model on a batch, by the model's own forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from forge.base.errors import ModelError
from forge.ml.data.batch import IGNORED
from forge.ml.loss.head import Head
from forge.ml.loss.linear import linear_cross_entropy
from forge.ml.loss.tail import tail_cross_entropy
from forge.ml.models.attention import attention_inputs, expect_padding
from forge.ml.parallel.pieces import local

if TYPE_CHECKING:
    from torch import nn

    from forge.ml.data.batch import Batch
    from forge.ml.parallel.tensor import TensorCut

__all__ = ["LOSS_KINDS", "CausalLoss"]

LOSS_KINDS: Final = ("auto", "linear", "logits", "whole")
"""The ways to compute the loss: of a plain linear head, in chunks through the model's own tail, or with whole logits."""

_ROUND: Final = 128


class CausalLoss:
    """Computes losses of a model, however it is wrapped; made before its parameters are spread over processes.

    ``kind`` is how: ``linear`` for a head that is one linear layer, ``logits`` in chunks for heads with scales or
    soft-caps behind them, ``whole`` with all logits at once; ``auto`` takes the first of these that is exact for the model.
    """

    def __init__(self, model: nn.Module, kind: str = "auto") -> None:
        self.model = model
        self.head = Head(model)
        expect_padding(model)
        self.kind = _checked(self.head, kind)
        self.sliceable = self.kind == "linear" or (self.kind == "logits" and self.head.is_elementwise())

    def total(self, batch: Batch) -> torch.Tensor:
        """The sum of the losses of all trained tokens, in float32; what is ignored never reaches the head."""
        batch = self.rounded(batch)
        inputs = attention_inputs(batch, self.head.model.config._attn_implementation)  # noqa: SLF001 - where transformers keeps it
        if self.kind == "whole":
            self._refuse_slices()
            hidden = self.model(input_ids=batch.input_ids, **inputs).logits
            logits, targets = _trained(hidden, batch)
            return functional.cross_entropy(logits.float(), targets, reduction="sum")
        with self.head.answering(lambda hidden: self._of_hidden(*_trained(hidden, batch))):
            return self.model(input_ids=batch.input_ids, **inputs)

    def rounded(self, batch: Batch) -> Batch:
        """The batch as the model is given it: where that saves memory, with a document more of which nothing is learned."""
        if batch.input_ids.device.type == "cpu":
            batch = _rounded(batch)
        return batch if self._cut is None else batch.padded_to_multiple(self._cut.row_multiple)

    @property
    def _cut(self) -> TensorCut | None:
        """How the model's matrices are divided over processes, if they are."""
        return getattr(self.head.model, "tensor_cut", None)

    def _refuse_slices(self) -> None:
        if self._cut is not None and self._cut.loss_parallel and not self.sliceable:
            raise ModelError(
                f"the logits of {type(self.head.model).__name__} are not made one by one, so loss_parallel cannot divide them",
                hint="set parallel.loss_parallel=false",
            )

    def _of_hidden(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        cut = self._cut
        if cut is not None and cut.loss_parallel:
            return self._of_slices(hidden, targets, cut)
        if self.kind == "linear":
            layer = self.head.linear
            weight, bias = (each if cut is None else cut.whole_rows(each) for each in (layer.weight, layer.bias))
            return linear_cross_entropy(hidden, weight, bias, targets)
        classes = self.head.model.config.get_text_config().vocab_size
        return tail_cross_entropy(hidden, targets, self.head.tail, self.head.parameters, classes=classes)

    def _of_slices(self, hidden: torch.Tensor, targets: torch.Tensor, cut: TensorCut) -> torch.Tensor:
        self._refuse_slices()
        # Communication is imported where there is somebody to talk to.
        from forge.ml.loss.sliced import sliced_cross_entropy

        layer = self.head.linear
        behind = None if self.kind == "linear" else self.head.behind
        weight, bias = (None if each is None else local(each) for each in (layer.weight, layer.bias))
        return sliced_cross_entropy(hidden, weight, bias, targets, cut.peers, behind=behind)


def _checked(head: Head, kind: str) -> str:
    if kind not in LOSS_KINDS:
        raise ValueError(f"loss has no kind {kind!r}: write one of {', '.join(LOSS_KINDS)}")
    if kind == "whole":
        return kind
    separable = head.is_separable()
    if kind == "auto":
        return "linear" if separable and head.is_linear() else "logits" if separable else "whole"
    if not separable or (kind == "linear" and not head.is_linear()):
        raise ModelError(
            f"the head of {type(head.model).__name__} is not of the kind {kind!r} that the loss asks for",
            hint="write kind: auto",
        )
    return kind


def _rounded(batch: Batch) -> Batch:
    """A row of documents with one more behind them, of which nothing is learned, so that lengths are few.

    A CPU keeps memory and code for every length of a matrix product that it has met, megabytes of it.
    """
    if batch.lengths is None or len(batch.input_ids) > 1:
        return batch
    return batch.padded_to_multiple(_ROUND)


def _trained(hidden: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows from which something is learned, and what; on a CPU with a few others, so that their numbers are few too."""
    if hidden.shape[:2] != batch.targets.shape:
        raise ModelError(
            f"the model makes {tuple(hidden.shape[:2])} of tokens of shape {tuple(batch.targets.shape)}",
            hint="adapters that put tokens before a prompt cannot be trained",
        )
    hidden, targets = hidden.flatten(0, 1), batch.targets.flatten()
    if batch.trained == targets.numel():
        return hidden, targets
    ignored = targets == IGNORED
    kept = (~ignored).nonzero()[:, 0]
    if hidden.device.type == "cpu" and len(kept):
        kept = torch.cat([kept, ignored.nonzero()[: -len(kept) % _ROUND, 0]])
    return hidden[kept], targets[kept]
