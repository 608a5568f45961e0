"""Peer: torchtune's recipe for a full finetune on one device. Started by ``benchmarks/train.py`` with its task as JSON."""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torchtune
from measured import Measured
from omegaconf import OmegaConf
from torchtune.training.metric_logging import DiskLogger

RECIPE = Path(torchtune.__file__).parents[1] / "recipes" / "full_finetune_single_device.py"
FullFinetuneRecipeSingleDevice = runpy.run_path(str(RECIPE))["FullFinetuneRecipeSingleDevice"]
task = json.loads(sys.argv[1])
measured = Measured(task["warm_up"])
shape = json.loads((Path(task["model"]) / "config.json").read_text())
source = {"source": "json", "data_files": task["data"], "split": "train"}
if task["chat"]:
    dataset = {
        "_component_": "torchtune.datasets.chat_dataset",
        "conversation_column": "messages",
        "conversation_style": "openai",
        "packed": task["packed"],
        **source,
    }
else:
    dataset = {"_component_": "torchtune.datasets.text_completion_dataset", "column": "text", "packed": False, **source}
config = OmegaConf.create(
    {
        "output_dir": task["scratch"] + "/out",
        "model": {
            "_component_": "torchtune.models.llama3_2.llama3_2"
            if shape["tie_word_embeddings"]
            else "torchtune.models.llama2.llama2",
            "vocab_size": shape["vocab_size"],
            "num_layers": shape["num_hidden_layers"],
            "num_heads": shape["num_attention_heads"],
            "num_kv_heads": shape["num_key_value_heads"],
            "embed_dim": shape["hidden_size"],
            "intermediate_dim": shape["intermediate_size"],
            "max_seq_len": shape["max_position_embeddings"],
            "norm_eps": shape["rms_norm_eps"],
        },
        "tokenizer": {
            "_component_": "tune_parts.Tokenizer",
            "path": task["model"] + "/tokenizer.json",
            "max_seq_len": task["length"],
        },
        "checkpointer": {
            "_component_": "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": task["model"],
            "checkpoint_files": ["model.safetensors"],
            "recipe_checkpoint": None,
            "output_dir": task["scratch"] + "/out",
            "model_type": "LLAMA2",
        },
        "resume_from_checkpoint": False,
        "dataset": dataset,
        "seed": 1,
        "shuffle": True,
        "batch_size": task["batch"],
        "epochs": 1,
        "max_steps_per_epoch": task["steps"],
        "gradient_accumulation_steps": 1,
        "optimizer": {"_component_": "torch.optim.AdamW", "lr": 1e-3, "fused": task["fused"]},
        "optimizer_in_bwd": False,
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        "clip_grad_norm": 1.0,
        "device": "cpu",
        "dtype": "fp32" if task["precision"] == "fp32" else "bf16",
        "compile": task["compile"],
        "enable_activation_checkpointing": False,
        "enable_activation_offloading": False,
        "metric_logger": {"_component_": "torchtune.training.metric_logging.DiskLogger", "log_dir": task["scratch"]},
        "log_every_n_steps": 1,
        "log_peak_memory_stats": False,
        "profiler": {"_component_": "torchtune.training.setup_torch_profiler", "enabled": False},
    }
)


class Timed(DiskLogger):
    def log_dict(self, payload: dict[str, Any], step: int) -> None:
        measured.step()
        measured.losses.append(float(payload["loss"]))


recipe = FullFinetuneRecipeSingleDevice(config)
began = time.perf_counter()
recipe.setup(config)
measured.prepared = time.perf_counter() - began
recipe._metric_logger = Timed(task["scratch"])
pad = recipe._tokenizer.pad_id
inner = recipe._loss_step


def counted(batch: dict[str, Any]) -> Any:
    trained = int((batch["labels"] != -100).sum())
    measured.batch(int((batch["tokens"] != pad).sum()), trained)
    return inner(batch)


recipe._loss_step = counted
recipe.save_checkpoint = lambda epoch: None
recipe.train()
measured.report()
