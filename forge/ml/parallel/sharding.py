"""Data parallelism by torch's own means: copies of a model (replicate), and one copy cut up (fully_shard).

torch has two ways to keep copies alike. The one that DistributedDataParallel is made of takes ordinary weights, and a third of the
time that the other one adds to a step; that one, made of FSDP2, goes together with pipelines and with matrices cut up.

With one copy cut up, the matrices of a layer are gathered when it computes, already in the type that it computes in: autocast would cast
them anyway, and keep what it cast of all layers until the backward pass. The layer's norms, which compute as they are stored, are
gathered with what is around the layers. A layer with other matrices, such as those of experts, is gathered as it is stored.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._composable.replicate import replicate as replicate_by_buckets
from torch.distributed._composable.replicate_with_fsdp import replicate
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.parallel.world import World

__all__ = ["share_data"]

# They use their matrices in nothing but products that autocast casts.
_CAST: Final = (nn.Linear, Conv1D)


def share_data(
    model: nn.Module, blocks: Sequence[nn.Module], world: World, computed: torch.dtype | None = None
) -> None:
    """Let processes that read data of their own learn together; gradients are summed, not averaged.

    The model may be empty still: what is cut up then is filled piece by piece. ``computed`` is the type that autocast casts to.
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
        _pieces(model, blocks, world, computed)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)  # gloo knows no other kind


def _pieces(model: nn.Module, blocks: Sequence[nn.Module], world: World, computed: torch.dtype | None) -> None:
    layout, mesh = world.layout, world.mesh
    spread = mesh["shard"] if layout.dp_replicate == 1 else mesh["replicate", "shard"]
    policy = CPUOffloadPolicy() if layout.cpu_offload else OffloadPolicy()
    cast = {block for block in blocks if computed is not None and _all_cast(block, computed)}
    owners = Counter(weight for block in blocks for weight in block.parameters())
    own = {weight for weight, layers in owners.items() if layers == 1}  # what several layers share is around them
    by_layer = {
        weight for block in blocks for weight in block.parameters() if weight.ndim > 1 or block not in cast
    } & own
    # First what is around the layers: torch does not look into what is cut up already, and norms in there are among it.
    fully_shard(model, mesh=spread, reshard_after_forward=False, offload_policy=policy, ignored_params=by_layer)
    around = {weight for weight in model.parameters() if weight not in by_layer}
    casting = MixedPrecisionPolicy(computed, torch.float32, cast_forward_inputs=False)
    reshard = layout.shards_weights and layout.reshard_after_forward
    for block in blocks:
        fully_shard(
            block,
            mesh=spread,
            reshard_after_forward=reshard,
            mp_policy=casting if block in cast else MixedPrecisionPolicy(),
            offload_policy=policy,
            ignored_params=around,
        )


def _all_cast(block: nn.Module, computed: torch.dtype) -> bool:
    """Whether autocast casts matrices of a layer, and whenever one is used."""
    owned = [(module, weight) for module in block.modules() for weight in module.parameters(recurse=False)]
    matrices = [(module, weight) for module, weight in owned if weight.ndim > 1]
    differ = any(weight.dtype != computed for _, weight in matrices)
    return differ and all(isinstance(module, _CAST) for module, _ in matrices)


def _copies(model: nn.Module, group: dist.ProcessGroup) -> None:
    """The weights are the same from the start, and no buffer of a language model changes in training."""
    copies: Any = replicate_by_buckets(
        model, process_group=group, init_sync=False, forward_sync_buffers=False, gradient_as_bucket_view=True
    )
    copies.register_comm_hook(group, lambda group, bucket: _summed(bucket.buffer(), group))


def _summed(gradients: torch.Tensor, group: dist.ProcessGroup) -> torch.futures.Future[torch.Tensor]:
    summing: Any = dist.all_reduce(gradients, group=group, async_op=True)
    return summing.get_future().then(lambda done: done.value()[0])
