"""Trains small models under autocast, with matrices gathered in the type they compute in and as they are stored: what is not the same.

``python -m torch.distributed.run ... sharding_process.py FILE``: the first process writes there, by family and stage of zero, the names of
what differs in any bit: losses, gradients of the first step, weights after the last one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tensor_runs import VOCABULARY, config_of
from transformers import AutoModelForCausalLM

from forge.ml.memory.blocks import blocks
from forge.ml.parallel.batches import last_of_step
from forge.ml.parallel.pieces import local
from forge.ml.parallel.sharding import share_data
from forge.ml.parallel.world import World, join
from forge.plan.layout import Layout

CPU = torch.device("cpu")
STAGES = (1, 2, 3)
STEPS, BATCHES = 3, 2
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("llama", "qwen3", "gemma2", "cohere", "gpt2")},
    "qwen3_moe": EXPERTS,
}


def trained(family: str, world: World, computed: torch.dtype | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of({"model": family, "config": FAMILIES[family]}))
    model.eval()  # no dropout
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight), alpha=0.1)  # or bfloat16 would have all of a norm's numbers
    share_data(model, blocks(model), world, computed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows = torch.Generator().manual_seed(world.rank)
    found: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        for batch in range(BATCHES):
            last_of_step(model, world, last=batch == BATCHES - 1)
            ids = torch.randint(0, VOCABULARY, (2, 16), generator=rows)
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            found[f"loss {step} {batch}"] = loss.detach()
        if step == 0:
            found |= {f"gradient of {name}": local(one.grad).clone() for name, one in model.named_parameters()}
        optimizer.step()
        optimizer.zero_grad()
    return found | {name: local(one).detach() for name, one in model.named_parameters()}


def main() -> None:
    differing: dict[str, list[str]] = {}
    for stage in STAGES:
        world = join(Layout(dp_shard=2, zero_stage=stage), CPU)
        for family in FAMILIES:
            stored, cast = (trained(family, world, computed) for computed in (None, torch.bfloat16))
            assert stored.keys() == cast.keys()
            own = [name for name in stored if not torch.equal(stored[name], cast[name])]
            everybodys: list[Any] = [None] * world.size
            dist.all_gather_object(everybodys, own)
            differing[f"{family} {stage}"] = sorted({name for names in everybodys for name in names})
    if dist.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(differing))
    dist.destroy_process_group()


main()
