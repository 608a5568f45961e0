"""The model of a run, put in place: on its device, with its weights, its attention and what saves its memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from forge.base.errors import DataError
from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.compile import choose_compile, compile_blocks
from forge.ml.memory.offload import offload_activations
from forge.ml.models.causal import materialise
from forge.ml.models.weights import load_weights

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from rich.console import Console

    from forge.ml.train.start import Start
    from forge.ml.train.trainer import Trainer

__all__ = ["check_length", "put_in_place", "saved_memory"]


def put_in_place(
    settings: Trainer, attention: str, device: torch.device, steps: int, start: Start | None, console: Console
) -> Any:
    """The model with its weights on the device, ready to be trained for this many steps."""
    model = materialise(settings.model, device)
    if start is not None:
        load_weights(model, start.path)
    model.set_attn_implementation(attention)
    model.config.use_cache = False
    model.train()
    checkpoint_blocks(model, settings.gradient_checkpointing)
    if choose_compile(settings.torch_compile, model, device, steps, say=console.print):
        compile_blocks(model)
    return model


def saved_memory(settings: Trainer, model: Any) -> AbstractContextManager[Any]:
    """The context of a forward pass that keeps its activations where the settings say."""
    return offload_activations(model) if settings.enable_activation_offloading else contextlib.nullcontext()


def check_length(settings: Trainer) -> None:
    """Refuse sequences that are longer than the positions the model knows."""
    positions = getattr(settings.model.config, "max_position_embeddings", None)
    longest = settings.dataset.max_length
    if positions is not None and longest > positions:
        raise DataError(
            f"sequences have up to {longest} tokens, and the model knows {positions} positions",
            hint=f"set dataset.max_length to {positions} or less",
        )
