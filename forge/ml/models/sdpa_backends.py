"""Attention by one of torch's own kernels, chosen by name: ``sdpa`` lets torch choose, ``sdpa_math`` and the others do not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from forge.base.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["SDPA_BACKENDS", "known_as"]

SDPA_BACKENDS: Final = {
    "sdpa_math": SDPBackend.MATH,
    "sdpa_flash": SDPBackend.FLASH_ATTENTION,
    "sdpa_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "sdpa_cudnn": SDPBackend.CUDNN_ATTENTION,
}
"""The names that a config has for them, and what torch calls them."""

_KNOWN_AS: Final = {"sdpa_flash": "sdpa_quick"}  # with "flash" in it, transformers takes a name for another package
_NONE: Final = ("No available kernel", "No viable backend")  # what torch says when it may not choose another


def known_as(name: str) -> str:
    """What `transformers` calls an attention of this name."""
    return _KNOWN_AS.get(name, name)


def _attend(
    module: torch.nn.Module, query: torch.Tensor, *rest: Any, backend: SDPBackend, name: str, **named: Any
) -> tuple[torch.Tensor, None]:
    try:
        with sdpa_kernel(backend):
            return sdpa_attention_forward(module, query, *rest, **named)
    except RuntimeError as error:
        if not str(error).startswith(_NONE):
            raise
        raise ModelError(
            f"attn_implementation {name} has no kernel for this model's attention: heads of {query.shape[-1]} in {query.dtype} "
            f"on {query.device.type}",
            hint="write model.attn_implementation=auto, or sdpa",
        ) from error


for _name, _backend in SDPA_BACKENDS.items():
    AttentionInterface.register(known_as(_name), partial(_attend, backend=_backend, name=_name))
    AttentionMaskInterface.register(known_as(_name), sdpa_mask)
