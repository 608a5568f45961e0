"""Adapters of peft on top of a model, with base weights as they are or in four bits."""

from __future__ import annotations

import re
import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from peft import PeftConfig, PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["QLora", "check_four_bits", "four_bits", "put_adapter", "without_adapter"]

_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.)")
_ALL: Final = "all-linear"
_PROBED: Final = 16  # tokens, of which matrices in fp8 want so many
_BLOCK: Final = 64
_SCALERS: Final = 256


class QLora(LoraConfig):
    """LoRA on base weights of four bits (NF4, through torchao); what is saved is an ordinary LoRA adapter."""

    base_weights: ClassVar[Literal["nf4"]] = "nf4"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.use_dora:
            raise ValueError(
                "use_dora needs whole base weights, and QLora has them in four bits: use LoRA or drop use_dora"
            )


def put_adapter(model: PreTrainedModel, adapter: PeftConfig) -> PeftModel:
    """Put an adapter on a model; of the model itself nothing is trained any more.

    The weights of the adapter are float32, also on a model in bfloat16: they are few, and an optimizer needs their last bits.
    """
    with warnings.catch_warnings():
        # peft asks for a name that transformers is about to drop; it still answers, and nothing here can ask otherwise.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        # A copy: peft writes the base model's name into it, and the same config may be on another model.
        adapter = deepcopy(adapter)
        if getattr(adapter, "target_modules", None) == _ALL and getattr(adapter, "exclude_modules", None) is None:
            # Routers of some models are linear layers that answer with a choice of experts, to which nothing can be added.
            adapter.exclude_modules = [name for name, each in model.named_modules() if _chooses(each)] or None
        return get_peft_model(model, adapter, autocast_adapter_dtype=True)


def without_adapter(model: PeftModel) -> list[str]:
    """The linear layers but the head that an adapter left as they are; those of several decoder layers go by one name.

    peft leaves out what is called as matrices of experts once were, in families whose experts are one tensor now.
    """
    base = model.get_base_model()
    layers = [layer for layer in base.modules() if isinstance(layer, BaseTunerLayer)]
    seen = {id(part) for layer in (*layers, *filter(None, [base.get_output_embeddings()])) for part in layer.modules()}
    names = (name for name, each in base.named_modules() if isinstance(each, nn.Linear) and id(each) not in seen)
    return list(dict.fromkeys(_NUMBER.sub("*", name) for name in names)) if layers else []


@torch.no_grad()
def _chooses(module: nn.Module) -> bool:
    """Whether a linear layer answers with something else than a tensor."""
    if not isinstance(module, nn.Linear) or type(module).forward is nn.Linear.forward:
        return False
    tokens = module.weight.new_zeros(_PROBED, module.in_features)
    return not isinstance(module(tokens), torch.Tensor)


def check_four_bits() -> None:
    """Refuse base weights of four bits where nothing is installed that makes them."""
    _to_nf4()


def four_bits(model: PreTrainedModel) -> Callable[[str, Tensor], Tensor]:
    """A function that turns the weights of a model's linear layers into four bits, all but the output head's."""
    to_nf4 = _to_nf4()
    head = model.get_output_embeddings()
    chosen = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }

    def change(name: str, tensor: Tensor) -> Tensor:
        if name not in chosen:
            return tensor
        blocks, rest = divmod(tensor.numel(), _BLOCK)
        if rest:
            raise ModelError(
                f"{name} has {tensor.numel():,} numbers, and four bits need a multiple of {_BLOCK}",
                hint="use the adapter lora instead of qlora",
            )
        # As many blocks as share one scale have to divide all of them: the largest power of two that does.
        return to_nf4(tensor, _BLOCK, min(_SCALERS, blocks & -blocks))

    return change


def _to_nf4() -> Callable[..., Tensor]:
    try:
        from torchao.quantization import to_nf4
    except ImportError as error:
        raise ModelError(
            "base weights of four bits need torchao 0.18 or later", hint="pip install 'forge[lowbit]'"
        ) from error
    return to_nf4
