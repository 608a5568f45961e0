"""What the peers by Hugging Face begin with: the model, its tokenizer, the rows, and a trainer's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datasets
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

if TYPE_CHECKING:
    from measured import Measured

__all__ = ["Timed", "load_model", "load_rows", "trainer_settings"]


class Timed(TrainerCallback):
    """Notes the end of each step."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured

    def on_step_end(self, *_: object, **__: object) -> None:
        """A step is done."""
        self.measured.step()


def load_model(task: dict[str, Any]) -> tuple[Any, Any]:
    """The tokenizer and the model of a task."""
    return (
        AutoTokenizer.from_pretrained(task["model"]),
        AutoModelForCausalLM.from_pretrained(
            task["model"], dtype=torch.bfloat16 if task["precision"] == "bf16 weights" else torch.float32
        ),
    )


def load_rows(task: dict[str, Any]) -> Any:
    """The rows of a task."""
    return datasets.load_dataset("json", data_files=task["data"], split="train", cache_dir=task["scratch"])


def trainer_settings(task: dict[str, Any]) -> dict[str, Any]:
    """The settings that any trainer of this family takes."""
    return {
        "output_dir": task["scratch"] + "/out",
        "max_steps": task["steps"],
        "per_device_train_batch_size": task["batch"],
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": task["precision"] == "bf16",
        "torch_compile": task["compile"],
        "report_to": [],
        "seed": 1,
        "optim": "adamw_torch_fused" if task["fused"] else "adamw_torch",
    }
