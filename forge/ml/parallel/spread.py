"""A model spread over the processes of its layout, before it has weights."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from forge.ml.memory.blocks import blocks
from forge.ml.parallel.context import exchange_heads
from forge.ml.parallel.sharding import share_data
from forge.plan.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import nn

    from forge.ml.parallel.pipeline_cut import Cut
    from forge.ml.parallel.tensor import LayerChain
    from forge.ml.parallel.world import World

__all__ = ["spread_model"]


def spread_model(model: nn.Module, world: World, cut: Cut | None = None, computed: torch.dtype | None = None) -> str:
    """Cut the empty model up as the layout says, the innermost dimension first; how it was done, in words.

    ``cut`` are the stages of a pipeline, which is what is done before data is spread over what is left. ``computed`` is the type that
    autocast casts to.
    """
    layout = world.layout
    if layout.tp > 1:
        from forge.ml.parallel.tensor import cut_matrices

        cut_matrices(model, _chains(model, cut), world)
    exchange_heads(model, world)
    if cut is not None:
        cut.take_out()
    share_data(model, blocks(model) if cut is None else cut.own_layers(), world, computed)
    return f"layout: {_described(layout)} on {world.size} processes"


def _chains(model: nn.Module, cut: Cut | None) -> list[LayerChain]:
    """The layers that run one after another in this process."""
    from forge.ml.parallel.tensor import LayerChain

    if cut is None:
        return [LayerChain(blocks(model))]
    layers = [place.module for place in cut.anatomy.layers]
    return [
        LayerChain([layers[number] for number in cut.bounds[stage]], stage == 0, stage == cut.count - 1)
        for stage in cut.own
    ]


def _described(layout: Layout) -> str:
    """What is not as in a run of one process."""
    usual = Layout()
    values = [(field.name, getattr(layout, field.name)) for field in fields(layout)]
    return " ".join(f"{name}={value}" for name, value in values if value != getattr(usual, name))
