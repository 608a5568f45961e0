"""A model spread over the processes of its layout, before it has weights."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from forge.base.errors import RunError
from forge.ml.memory.blocks import blocks
from forge.ml.parallel.sharding import share_data
from forge.plan.layout import Layout

if TYPE_CHECKING:
    from torch import nn

    from forge.ml.parallel.world import World

__all__ = ["spread_model"]


def spread_model(model: nn.Module, world: World) -> str:
    """Cut the empty model up as the layout says, the innermost dimension first; how it was done, in words."""
    layout = world.layout
    if layout.pp > 1 or layout.cp > 1 or layout.tp > 1:
        raise RunError("only data is spread over processes so far", hint="choose parallel=ddp or parallel=fsdp")
    share_data(model, blocks(model), world)
    return f"layout: {_described(layout)} on {world.size} processes"


def _described(layout: Layout) -> str:
    """What is not as in a run of one process."""
    usual = Layout()
    values = [(field.name, getattr(layout, field.name)) for field in fields(layout)]
    return " ".join(f"{name}={value}" for name, value in values if value != getattr(usual, name))
