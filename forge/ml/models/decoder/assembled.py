"""The decoder inside forge: as the other models, but a folder saved of it can be loaded by those who have no forge."""

from __future__ import annotations

import os
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from forge.base.files import write_atomic
from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.decoder.family import as_family
from forge.ml.models.decoder.modeling import DecoderForCausalLM
from forge.ml.models.decoder.standalone import code_files

if TYPE_CHECKING:
    from forge.ml.models.decoder.family import Family

__all__ = ["AssembledForCausalLM"]


class AssembledForCausalLM(DecoderForCausalLM):
    """An assembled decoder with its output head."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], **settings: Any) -> None:
        """Save as the known architecture that this is, or with the code that whoever loads it will have to trust."""
        tensors = settings.pop("state_dict", None) or self.state_dict()
        family = as_family(self)
        known = _without_memory(self, family)
        if family is not None:
            known.save_pretrained(save_directory, state_dict=family.to_family(tensors), **settings)
            return
        known.save_pretrained(save_directory, state_dict=tensors, **settings)
        for name, text in code_files(self.config).items():
            write_atomic(os.path.join(save_directory, name), text)


def _without_memory(model: DecoderForCausalLM, family: Family | None) -> Any:
    """The model that others will have, the known architecture or the class in the code file: it only knows how it is saved."""
    with torch.device("meta"):
        if family is None:
            known = DecoderForCausalLM(deepcopy(model.config)).to(model.dtype)
        else:
            known = AutoModelForCausalLM.from_config(family.config, dtype=model.dtype)
    known.generation_config = model.generation_config
    return known


AutoConfig.register(DecoderConfig.model_type, DecoderConfig)
AutoModelForCausalLM.register(DecoderConfig, AssembledForCausalLM)
