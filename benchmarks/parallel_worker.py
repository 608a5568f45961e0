"""A layout written bare, without forge: one of the processes that ``benchmarks/parallel.py`` starts, with its task as JSON.

The same model, rows as long, the same optimizer; torch's own DDP or FSDP2 around them and nothing else. The first process prints the
median of the seconds of a step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from statistics import median

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoConfig, AutoModelForCausalLM

task = json.loads(sys.argv[1])
size = int(os.environ.get("WORLD_SIZE", "1"))
rank = int(os.environ.get("RANK", "0"))
if size > 1:
    dist.init_process_group("gloo")
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(task["model"]), dtype=torch.float32)
vocabulary = model.config.vocab_size
if task["layout"] == "ddp" and size > 1:
    model = DistributedDataParallel(model)
if task["layout"] == "fsdp" and size > 1:
    from torch.distributed.fsdp import fully_shard

    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
generator = torch.Generator().manual_seed(rank)
seconds = []
for _ in range(task["steps"]):
    ids = torch.randint(vocabulary, (task["batch"], task["length"]), generator=generator)
    began = time.perf_counter()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.perf_counter() - began)
if rank == 0:
    print(json.dumps({"seconds": median(seconds[task["warm_up"] :])}))
if size > 1:
    dist.barrier()
    dist.destroy_process_group()
