"""Whether a model has an embedding for each token of its tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["check_vocabulary", "grow_vocabulary"]


def check_vocabulary(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer with more tokens than the model has embeddings; more embeddings than tokens are padding."""
    rows = len(model.get_input_embeddings().weight)
    needed = max(tokenizer.get_vocab().values(), default=-1) + 1
    if needed > rows:
        raise ModelError(
            f"vocabulary mismatch: the tokenizer has {needed:,} tokens, and the model has embeddings for {rows:,}",
            hint=f"if the tokens were added on purpose, set model.resize_to={needed}; else take the model's own tokenizer",
        )


def grow_vocabulary(model: PreTrainedModel, rows: int) -> frozenset[str]:
    """Give a model without weights as many embeddings as asked for, and return the names of what has grown."""
    before = len(model.get_input_embeddings().weight)
    if rows < before:
        raise ModelError(f"resize_to is {rows:,}, and the model has {before:,} embeddings already: it can only grow")
    if rows == before:
        return frozenset()
    model.resize_token_embeddings(rows, mean_resizing=False)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    grown = {id(weight) for layer in layers if layer is not None for weight in layer.parameters(recurse=False)}
    return frozenset(name for name, weight in model.named_parameters(remove_duplicate=False) if id(weight) in grown)
