"""The loss of a causal model on a batch, by the model's own forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch.nn import functional

from forge.base.errors import ModelError
from forge.ml.data.batch import IGNORED
from forge.ml.loss.head import Head
from forge.ml.loss.linear import linear_cross_entropy
from forge.ml.loss.tail import tail_cross_entropy
from forge.ml.models.attention import attention_inputs

if TYPE_CHECKING:
    import torch
    from torch import nn

    from forge.ml.data.batch import Batch

__all__ = ["LOSS_KINDS", "CausalLoss"]

LOSS_KINDS: Final = ("auto", "linear", "logits", "whole")
"""The ways to compute the loss: of a plain linear head, in chunks through the model's own tail, or with whole logits."""


class CausalLoss:
    """Computes losses of a model, however it is wrapped; made before its parameters are spread over processes.

    ``kind`` is how: ``linear`` for a head that is one linear layer, ``logits`` in chunks for heads with scales or
    soft-caps behind them, ``whole`` with all logits at once; ``auto`` takes the first of these that is exact for the model.
    """

    def __init__(self, model: nn.Module, kind: str = "auto") -> None:
        self.model = model
        self.head = Head(model)
        self.kind = _checked(self.head, kind)

    def total(self, batch: Batch) -> torch.Tensor:
        """The sum of the losses of all trained tokens, in float32; what is ignored never reaches the head."""
        inputs = attention_inputs(batch, self.head.model.config._attn_implementation)  # noqa: SLF001 - where transformers keeps it
        if self.kind == "whole":
            hidden = self.model(input_ids=batch.input_ids, **inputs).logits
            logits, targets = _trained(hidden, batch)
            return functional.cross_entropy(logits.float(), targets, reduction="sum")
        with self.head.answering(lambda hidden: self._of_hidden(*_trained(hidden, batch))):
            return self.model(input_ids=batch.input_ids, **inputs)

    def _of_hidden(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.kind == "linear":
            layer = self.head.linear
            return linear_cross_entropy(hidden, layer.weight, layer.bias, targets)
        classes = self.head.model.config.get_text_config().vocab_size
        return tail_cross_entropy(hidden, targets, self.head.tail, self.head.parameters, classes=classes)


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


def _trained(hidden: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows from which something is learned, and what."""
    if hidden.shape[:2] != batch.targets.shape:
        raise ModelError(
            f"the model makes {tuple(hidden.shape[:2])} of tokens of shape {tuple(batch.targets.shape)}",
            hint="adapters that put tokens before a prompt cannot be trained",
        )
    hidden, targets = hidden.flatten(0, 1), batch.targets.flatten()
    if batch.trained == targets.numel():
        return hidden, targets
    kept = (targets != IGNORED).nonzero()[:, 0]
    return hidden[kept], targets[kept]
