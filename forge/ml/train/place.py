"""The model of a run, put in place: on its device, with its weights, its attention and what saves its memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import DataError
from forge.ml.loss import CausalLoss
from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.compile import choose_compile, compile_blocks
from forge.ml.memory.offload import offload_activations, offloading_described
from forge.ml.models.attention import FLAT, attend_through, check_documents
from forge.ml.models.causal import materialise, materialise_spread
from forge.ml.models.weights import load_weights
from forge.plan.layout import SPLITTING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from forge.ml.memory.precision import Precision
    from forge.ml.parallel.pipeline_cut import Cut
    from forge.ml.parallel.world import World
    from forge.ml.train.feed import RunData
    from forge.ml.train.start import Start
    from forge.ml.train.trainer import Trainer

__all__ = ["check_length", "choose_device", "put_in_place", "saved_memory"]

_NAMED: Final = 6  # layers that an adapter leaves out


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
    settings: Trainer,
    attention: str,
    precision: Precision,
    world: World,
    data: RunData,
    start: Start | None,
    console: Console,
) -> tuple[Any, CausalLoss]:
    """The model with its weights on the device, or its pieces of them, ready to be trained; and its loss."""
    seams: list[CausalLoss] = []
    attend_through(None)  # one process may do several runs, one after another
    cuts: list[Cut] = []

    def look(model: Any) -> None:
        model.set_attn_implementation(attention)
        if settings.dataset.packing != "none" or attention in FLAT:  # which get all sequences of a batch in one row
            check_documents(model, attention)
        # Before it is cut up: how the loss is computed depends on what the whole head does.
        seams.append(CausalLoss(model, kind=settings.loss))
        if world.layout.pp > 1:
            from forge.ml.parallel.pipeline_cut import Cut, check_cut, dissect

            anatomy = dissect(seams[0].head)
            names = tuple(model.state_dict())
            cuts.append(Cut(anatomy, world.layout, world.place("pp"), settings.dataset.max_length, names))
            check_cut(cuts[0])

    def spread(model: Any) -> None:
        _tell_size(model, world, attention, console)
        _save_memory(settings, model, console)
        _compile(settings, model, world, data, console)
        if not world.alone:
            # A second and more to import, which one process can do without.
            from forge.ml.parallel.spread import spread_model

            console.print(spread_model(model, world, cuts[0] if cuts else None, precision.cast_to))

    if world.alone:
        model = materialise(settings.model, world.device)
        look(model)
        spread(model)
    else:
        model = materialise_spread(settings.model, world.device, look, spread)
    if world.layout.cpu_offload:
        from forge.ml.parallel.pieces import move_pieces

        move_pieces(model, "cpu")  # where torch wants them when the first step begins
    if start is not None:
        load_weights(model, start.path)
    model.train()
    return model, _pipelined(settings, seams[0], cuts[0], world) if cuts else seams[0]


def _pipelined(settings: Trainer, loss: CausalLoss, cut: Cut, world: World) -> Any:
    """The loss of a model that is cut into stages."""
    from forge.ml.parallel.pipeline import Pipeline

    again = bool(settings.gradient_checkpointing) or settings.enable_activation_offloading
    return Pipeline(
        loss,
        cut,
        world,
        microbatches=world.layout.microbatches * settings.gradient_accumulation_steps,
        whole=not world.layout.splits(again=again),
    )


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


def _tell_size(model: Any, world: World, attention: str, console: Console) -> None:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        console.print(
            "warning: what its router adds to the loss (output_router_logits) is no part of what this run learns from"
        )
    console.print(f"model: {_size(model):,} parameters, {trained:,} trained, on {world.device}, attention {attention}")
    if hasattr(model, "peft_config"):
        from forge.ml.models.adapter import without_adapter

        names = without_adapter(model)
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            console.print(f"the adapter leaves out {', '.join(names[:_NAMED])}{more}")


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _compile(settings: Trainer, model: Any, world: World, data: RunData, console: Console) -> None:
    if world.layout.pp_schedule in SPLITTING:
        console.print(f"layers are not compiled: {world.layout.pp_schedule} makes their backward passes in two halves")
        return
    choice = choose_compile(
        settings.torch_compile, world.device, steps=data.total_steps, parameters=_size(model), tokens=data.step_tokens
    )
    console.print(choice.described)
    if choice.compiled:
        compile_blocks(model)
