"""A layout written bare, without forge: one of the processes that ``benchmarks/parallel.py`` starts, with its task as JSON.

The same model, rows as long, the same optimizer; torch's own way to divide it over processes around them and nothing else. Its steps
are taken in turn with those of others.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from seats import Seat
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

if TYPE_CHECKING:
    from collections.abc import Callable

task = json.loads(sys.argv[1])
size = int(os.environ.get("WORLD_SIZE", "1"))
rank = int(os.environ.get("RANK", "0"))
layout = task["layout"] if size > 1 else ""  # as torch calls it


class Half(nn.Module):
    """The layers of one place of a pipeline of two, with what lies before or after them."""

    def __init__(self, whole: Any, place: int) -> None:
        super().__init__()
        layers = whole.model.layers
        half = len(layers) // 2
        self.layers = layers[half:] if place else layers[:half]
        self.begin = nn.Identity() if place else whole.model.embed_tokens
        self.end = nn.Sequential(whole.model.norm, whole.lm_head) if place else nn.Identity()
        self.rotary = whole.model.rotary_emb

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Hidden states or tokens in, hidden states or logits out."""
        hidden = self.begin(given)
        places = torch.arange(hidden.shape[1])[None]
        rotation = self.rotary(hidden, places)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=None, position_ids=places, position_embeddings=rotation)
        return self.end(hidden)


def mean_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Of every token but the first of a row."""
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def divided(model: Any) -> Any:
    """The model as the layout has it on this process."""
    if layout in ("DistributedDataParallel", "ZeroRedundancyOptimizer"):
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)
    if layout in ("fully_shard", "fully_shard, kept"):
        from torch.distributed.fsdp import fully_shard

        for layer in model.model.layers:
            fully_shard(layer, reshard_after_forward=layout == "fully_shard")
        return fully_shard(model, reshard_after_forward=layout == "fully_shard")
    if layout == "parallelize_module":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Replicate
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        columns = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
        rows = ("self_attn.o_proj", "mlp.down_proj")
        plan: dict[str, Any] = {f"model.layers.*.{name}": ColwiseParallel() for name in columns}
        plan |= {f"model.layers.*.{name}": RowwiseParallel() for name in rows}
        plan["lm_head"] = ColwiseParallel(output_layouts=Replicate())
        return parallelize_module(model, init_device_mesh("cpu", (size,)), plan)
    return Half(model, rank) if layout == "Schedule1F1B" else model


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW; its states divided where the layout says so."""
    if layout == "ZeroRedundancyOptimizer":
        from torch.distributed.optim import ZeroRedundancyOptimizer

        return ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=1e-3, fused=True)
    # torch does not compute what is divided and what is not in one call.
    whole = {"params": [one for one in model.parameters() if type(one.data) is torch.Tensor]}
    pieces = {"params": [one for one in model.parameters() if type(one.data) is not torch.Tensor]}
    return torch.optim.AdamW([each for each in (whole, pieces) if each["params"]], lr=1e-3, fused=True)


def learner(model: Any) -> Callable[[torch.Tensor], None]:
    """What makes the gradients of a batch: at once, or of the microbatches of a pipeline one after another."""
    if task["layout"] != "Schedule1F1B":
        return lambda ids: model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    if size == 1:

        def one_after_another(ids: torch.Tensor) -> None:
            for row in ids.split(1):
                (model(input_ids=row, labels=row, use_cache=False).loss / len(ids)).backward()

        return one_after_another
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    stage = PipelineStage(model, rank, size, torch.device("cpu"))
    schedule = Schedule1F1B(stage, task["batch"], loss_fn=mean_loss)
    return lambda ids: schedule.step(target=ids) if rank else schedule.step(ids)


def clip(model: nn.Module) -> None:
    """By the norm of all gradients; torch has none for a pipeline, and does not clip where some parameters are divided and some are not."""
    if layout == "Schedule1F1B":
        parameters = [one for one in model.parameters() if one.grad is not None]
        norm = torch.nn.utils.get_total_norm([one.grad for one in parameters]).square()
        dist.all_reduce(norm)
        torch.nn.utils.clip_grads_with_norm_(parameters, 1.0, norm.sqrt())
    elif task["layout"] != "parallelize_module":
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)


if size > 1:
    dist.init_process_group("gloo")
torch.manual_seed(0)
whole = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(task["model"]), dtype=torch.float32)
vocabulary = whole.config.vocab_size
model = divided(whole)
optimizer = optimizer_of(model)
learn = learner(model)
# Places of a pipeline and parts of a tensor learn from the same rows.
generator = torch.Generator().manual_seed(0 if layout in ("parallelize_module", "Schedule1F1B") else rank)
seat = Seat()
for _ in range(task["steps"]):
    seat.wait()
    ids = torch.randint(vocabulary, (task["batch"], task["length"]), generator=generator)
    learn(ids)
    clip(model)
    optimizer.step()
    optimizer.zero_grad()
    seat.had()
if size > 1:
    dist.barrier()
    dist.destroy_process_group()
