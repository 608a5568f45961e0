"""Peer: SFTTrainer of TRL, on conversations. Started by ``benchmarks/train.py`` with its task as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from hugging_face import Timed, load_model, load_rows, trainer_settings
from measured import Measured
from trl import SFTConfig, SFTTrainer

if TYPE_CHECKING:
    import torch

task = json.loads(sys.argv[1])
measured = Measured(task["warm_up"])
tokenizer, model = load_model(task)
rows = load_rows(task)
arguments = SFTConfig(
    **trainer_settings(task),
    gradient_checkpointing=False,
    max_length=task["length"],
    packing=task["packed"],
    assistant_only_loss=task["assistant_only"],
)
began = time.perf_counter()
trainer = SFTTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[Timed(measured)])
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
