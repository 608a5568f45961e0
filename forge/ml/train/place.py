"""The model of a run, put in place: on its device, with its weights, its attention and what saves its memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from forge.base.errors import DataError
from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.compile import choose_compile, compile_blocks
from forge.ml.memory.offload import offload_activations, offloading_described
from forge.ml.models.attention import check_documents
from forge.ml.models.causal import materialise
from forge.ml.models.weights import load_weights

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from forge.ml.train.feed import RunData
    from forge.ml.train.start import Start
    from forge.ml.train.trainer import Trainer

__all__ = ["check_length", "choose_device", "put_in_place", "saved_memory"]


def choose_device() -> torch.device:
    """The device that this process may use."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_length(settings: Trainer) -> None:
    """Refuse sequences that are longer than the positions the model knows."""
    positions = getattr(settings.model.config, "max_position_embeddings", None)
    longest = settings.dataset.max_length
    if positions is not None and longest > positions:
        raise DataError(
            f"sequences have up to {longest:,} tokens, and the model knows {positions:,} positions",
            hint=f"set dataset.max_length={positions} or less",
        )


def put_in_place(
    settings: Trainer, attention: str, device: torch.device, data: RunData, start: Start | None, console: Console
) -> Any:
    """The model with its weights on the device, ready to be trained."""
    model = materialise(settings.model, device)
    if start is not None:
        load_weights(model, start.path)
    model.set_attn_implementation(attention)
    if settings.dataset.packing != "none":
        check_documents(model, attention)
    model.train()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    console.print(f"model: {parameters:,} parameters, {trained:,} trained, on {device}, attention {attention}")
    _save_memory(settings, model, console)
    _compile(settings, model, device, data, parameters, console)
    return model


def saved_memory(settings: Trainer, model: Any) -> AbstractContextManager[Any]:
    """The context of a forward pass that keeps its activations where the settings say."""
    return offload_activations(model) if settings.enable_activation_offloading else contextlib.nullcontext()


def _save_memory(settings: Trainer, model: Any, console: Console) -> None:
    if settings.gradient_checkpointing:
        count = checkpoint_blocks(model, settings.gradient_checkpointing)
        how = "full" if settings.gradient_checkpointing is True else settings.gradient_checkpointing
        console.print(f"gradient checkpointing: {how}, in {count} layers")
    if settings.enable_activation_offloading:
        console.print(offloading_described(next(model.parameters()).device))


def _compile(
    settings: Trainer, model: Any, device: torch.device, data: RunData, parameters: int, console: Console
) -> None:
    choice = choose_compile(
        settings.torch_compile, device, steps=data.total_steps, parameters=parameters, tokens=data.step_tokens
    )
    console.print(choice.described)
    if choice.compiled:
        compile_blocks(model)
