"""Peer: the Trainer of transformers, on unpacked text. Started by ``benchmarks/train.py`` with its task as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from hugging_face import Timed, load_model, load_rows, trainer_settings
from measured import Measured
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

if TYPE_CHECKING:
    import torch

task = json.loads(sys.argv[1])
measured = Measured(task["warm_up"])
tokenizer, model = load_model(task)
began = time.perf_counter()
rows = load_rows(task).map(
    lambda row: tokenizer(row["text"], truncation=True, max_length=task["length"]), remove_columns="text", batched=True
)
measured.prepared = time.perf_counter() - began
padded = DataCollatorForLanguageModeling(tokenizer, mlm=False)


def collate(examples: list[dict[str, object]]) -> dict[str, torch.Tensor]:
    batch = padded(examples)
    mask = batch["attention_mask"]
    measured.batch(int(mask.sum()), int(mask.sum()) - len(mask))
    return batch


arguments = TrainingArguments(**trainer_settings(task), remove_unused_columns=True)
trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Timed(measured)])
trainer.train()
measured.losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
measured.report()
