"""Peer: the Trainer of transformers, on unpacked text. Started by ``benchmarks/train.py`` with its task as JSON."""

from __future__ import annotations

import json
import sys
import time

import datasets
import torch
from measured import Measured
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

task = json.loads(sys.argv[1])
measured = Measured(task["warm_up"])


class Timed(TrainerCallback):
    def on_step_end(self, *_: object, **__: object) -> None:
        measured.step()


tokenizer = AutoTokenizer.from_pretrained(task["model"])
model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32)
began = time.perf_counter()
rows = datasets.load_dataset("json", data_files=task["data"], split="train", cache_dir=task["scratch"])
rows = rows.map(
    lambda row: tokenizer(row["text"], truncation=True, max_length=task["length"]), remove_columns="text", batched=True
)
measured.prepared = time.perf_counter() - began
padded = DataCollatorForLanguageModeling(tokenizer, mlm=False)


def collate(examples: list[dict[str, object]]) -> dict[str, torch.Tensor]:
    batch = padded(examples)
    mask = batch["attention_mask"]
    measured.batch(int(mask.sum()), int(mask.sum()) - len(mask))
    return batch


arguments = TrainingArguments(
    task["scratch"] + "/out",
    max_steps=task["steps"],
    per_device_train_batch_size=task["batch"],
    learning_rate=1e-3,
    logging_steps=1,
    save_strategy="no",
    use_cpu=True,
    bf16=task["precision"] == "bf16",
    torch_compile=task["compile"],
    report_to=[],
    seed=1,
    remove_unused_columns=True,
    optim="adamw_torch_fused" if task["fused"] else "adamw_torch",
)
trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Timed()])
trainer.train()
measured.losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
measured.report()
