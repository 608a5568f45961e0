"""Data parallelism by torch's own means: copies of a model (replicate), and one copy cut up (fully_shard).

torch has two ways to keep copies alike. The one that DistributedDataParallel is made of takes ordinary weights, and a third of the
time that the other one adds to a step; that one, made of FSDP2, goes together with pipelines and with matrices cut up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch.distributed._composable.replicate import replicate as replicate_by_buckets
from torch.distributed._composable.replicate_with_fsdp import replicate
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
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
    if not layout.shards_state and layout.pp == layout.tp == 1:
        _copies(model, mesh["replicate"].get_group())
        return
    if not layout.shards_state:
        for module in (*blocks, model):
            replicate(module, mesh=mesh["replicate"])
    else:
        reshard = layout.shards_weights and layout.reshard_after_forward
        spread = mesh["shard"] if layout.dp_replicate == 1 else mesh["replicate", "shard"]
        policy = CPUOffloadPolicy() if layout.cpu_offload else OffloadPolicy()
        for block in blocks:
            fully_shard(block, mesh=spread, reshard_after_forward=reshard, offload_policy=policy)
        fully_shard(model, mesh=spread, reshard_after_forward=False, offload_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)  # gloo knows no other kind


def _copies(model: nn.Module, group: dist.ProcessGroup) -> None:
    """The weights are the same from the start, and no buffer of a language model changes in training."""
    copies: Any = replicate_by_buckets(
        model, process_group=group, init_sync=False, forward_sync_buffers=False, gradient_as_bucket_view=True
    )
    copies.register_comm_hook(group, lambda group, bucket: _summed(bucket.buffer(), group))


def _summed(gradients: torch.Tensor, group: dist.ProcessGroup) -> torch.futures.Future[torch.Tensor]:
    summing: Any = dist.all_reduce(gradients, group=group, async_op=True)
    return summing.get_future().then(lambda done: done.value()[0])
