"""Whether two model folders compute the same: their logits on the same tokens, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoModelForCausalLM

from forge.base.errors import ModelError
from forge.ml.convert.source import check_fit, empty_model
from forge.ml.models.filling import fill

if TYPE_CHECKING:
    from torch import Tensor

    from forge.ml.convert.source import SourceModel

__all__ = ["LogitDifference", "compare", "compared"]

_TOKENS: Final = (2, 24)
_SEED: Final = 7
# How far logits may be apart, as a part of the largest: rounding of the weights, and of sums in another order.
_TOLERANCES: Final = {"float64": 1e-4, "float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}


@dataclass(frozen=True, slots=True)
class LogitDifference:
    """How far the logits of two models are apart; ``same_choice`` is the part of places where both prefer one token."""

    greatest: float
    mean: float
    largest_logit: float
    same_choice: float
    tolerance: float

    @property
    def small(self) -> bool:
        """Whether it is no more than the types of the weights explain."""
        return self.greatest <= self.tolerance * self.largest_logit

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"logits differ by {self.greatest:.3g} at most and {self.mean:.3g} on average "
            f"(the largest is {self.largest_logit:.3g}); {self.same_choice:.1%} of the first choices agree"
        )


def compare(source: SourceModel, folder: str, dtype: str, known: int | None = None) -> LogitDifference:
    """Read both models, one after the other, each whole and in float32; ModelError when the new one cannot be loaded.

    ``dtype`` is that of the new weights, ``known`` the number of tokens that both have.
    """
    rows = known or int(source.config.vocab_size)
    before = _logits(_model_of(source), rows)
    after = _logits(_loaded(folder), rows)
    same = source.tensors and all(str(one.dtype).endswith(dtype) for one in source.tensors.values())
    return compared(before, after, _TOLERANCES["float32" if same else dtype])


def compared(before: Tensor, after: Tensor, tolerance: float) -> LogitDifference:
    """The difference of two models' logits."""
    apart = (before - after).abs()
    agree = (before.argmax(-1) == after.argmax(-1)).float().mean()
    return LogitDifference(float(apart.max()), float(apart.mean()), float(before.abs().max()), float(agree), tolerance)


def _model_of(source: SourceModel) -> Any:
    model = empty_model(source.config).to(torch.float32)
    check_fit(model, source.tensors, source.folder)
    fill(model, source.tensors, folder=source.folder)
    return model.eval()


def _loaded(folder: str) -> Any:
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        ).eval()
    except (ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"transformers cannot load what was written: {' '.join(str(error).split())[:200]}") from error


@torch.no_grad()
def _logits(model: Any, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    length = min(_TOKENS[1], getattr(model.config, "max_position_embeddings", None) or _TOKENS[1])
    tokens = torch.randint(0, rows, (_TOKENS[0], length), generator=generator)
    return model(input_ids=tokens, use_cache=False).logits[..., :rows].float()
