"""Which parameters an optimizer gets, and which of them decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["decays", "parameter_groups"]


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay makes sense for a parameter: matrices and embeddings, not norms, biases and other vectors."""
    return parameter.ndim >= 2  # noqa: PLR2004 - vectors have one dimension, matrices two


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """The trained parameters with their names, in a group that decays as the optimizer says and one that never does."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("the model has no parameter to train: every one of them is frozen")
    matrices = [(name, parameter) for name, parameter in trained if decays(parameter)]
    vectors = [(name, parameter) for name, parameter in trained if not decays(parameter)]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
