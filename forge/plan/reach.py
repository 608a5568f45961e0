"""What of a model an adapter reaches, beside the linear layers that every adapter may be put on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from forge.plan.asked import Choices
    from forge.plan.shape import ModelShape

__all__ = ["reaches_experts"]

_EVERYTHING: Final = "all-linear"
# As the checkpoints of the library's models name them; peft looks for the stacked tensors that they have become.
_EXPERTS: Final = frozenset({"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
# A pattern is read as text: to match somebody's pattern with names may take for ever.
_OF_ATTENTION: Final = re.compile(r"attn|attention|[qkvo][)\]]?_proj")
_OF_EXPERTS: Final = re.compile(r"mlp|expert|gate|up_proj|down_proj|\bw[123]\b")


def reaches_experts(choices: Choices, shape: ModelShape) -> bool:
    """Whether the adapter is on the experts of a model, which are no linear layers, or on what chooses among them."""
    if not choices.adapter_is_lora or not shape.experts:
        return False
    if choices.adapter_parameters:
        return True
    return shape.family.adapted_experts and _names_experts(choices.adapter_targets)


def _names_experts(targets: str | tuple[str, ...]) -> bool:
    if not isinstance(targets, str):
        return any(target.rpartition(".")[2] in _EXPERTS for target in targets)
    if targets.lower() == _EVERYTHING:
        return True
    return _OF_ATTENTION.search(targets) is None or _OF_EXPERTS.search(targets) is not None
