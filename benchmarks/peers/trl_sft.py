"""Peer: SFTTrainer of TRL, on conversations. Started by ``benchmarks/train.py`` with its task as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import datasets
import torch
from measured import Measured
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

task = json.loads(sys.argv[1])
measured = Measured(task["warm_up"])


class Timed(TrainerCallback):
    def on_step_end(self, *_: object, **__: object) -> None:
        measured.step()


tokenizer = AutoTokenizer.from_pretrained(task["model"])
model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32)
rows = datasets.load_dataset("json", data_files=task["data"], split="train", cache_dir=task["scratch"])
arguments = SFTConfig(
    task["scratch"] + "/out",
    max_steps=task["steps"],
    per_device_train_batch_size=task["batch"],
    learning_rate=1e-3,
    logging_steps=1,
    save_strategy="no",
    use_cpu=True,
    bf16=task["precision"] == "bf16",
    torch_compile=task["compile"],
    gradient_checkpointing=False,
    max_length=task["length"],
    packing=task["packed"],
    assistant_only_loss=task["assistant_only"],
    report_to=[],
    seed=1,
    optim="adamw_torch_fused" if task["fused"] else "adamw_torch",
)
began = time.perf_counter()
trainer = SFTTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[Timed()])
measured.prepared = time.perf_counter() - began
collate = trainer.data_collator


def counted(examples: list[Any]) -> dict[str, torch.Tensor]:
    batch = collate(examples)
    mask = batch.get("attention_mask")
    tokens = int(mask.sum()) if mask is not None else batch["input_ids"].numel()
    measured.batch(tokens, int((batch["labels"] != -100).sum()))
    return batch


trainer.data_collator = counted
if task["steps"]:
    trainer.train()
    measured.losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    measured.report()
else:
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    print("\n" + json.dumps({"prepared": measured.prepared, "tokens": tokens, "rows": len(trainer.train_dataset)}))
