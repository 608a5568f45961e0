"""Data parallelism by torch's own means: copies of a model (replicate), and one copy cut up (fully_shard)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.distributed._composable.replicate_with_fsdp import replicate
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard

from forge.base.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from forge.ml.parallel.world import World

__all__ = ["share_data"]


def share_data(model: nn.Module, blocks: Sequence[nn.Module], world: World) -> None:
    """Let processes that read data of their own learn together; gradients are summed, not averaged.

    The model may be empty still: what is cut up then is filled piece by piece.
    """
    layout, mesh = world.layout, world.mesh
    if world.data_size * layout.cp == 1 or mesh is None:
        return
    if layout.zero_stage == 0:
        for module in (*blocks, model):
            replicate(module, mesh=mesh["replicate"])
    else:
        reshard = layout.zero_stage == 3 and layout.reshard_after_forward  # noqa: PLR2004 - the stage that cuts up weights
        spread = mesh["shard"] if layout.dp_replicate == 1 else mesh["replicate", "shard"]
        policy = _offload(world)
        for block in blocks:
            fully_shard(block, mesh=spread, reshard_after_forward=reshard, offload_policy=policy)
        fully_shard(model, mesh=spread, reshard_after_forward=False, offload_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)  # gloo knows no other kind


def _offload(world: World) -> OffloadPolicy:
    if not world.layout.cpu_offload:
        return OffloadPolicy()
    if world.device.type == "cpu":
        raise RunError(
            "cpu_offload moves weights from a GPU into host memory, and here they are there",
            hint="set parallel.cpu_offload=false",
        )
    return CPUOffloadPolicy()
