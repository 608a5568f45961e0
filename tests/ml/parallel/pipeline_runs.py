"""Small runs of one and of several processes, and what they have in common."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import small_run

import forge

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {
    "n_positions": 64,
    "n_embd": 32,
    "n_layer": 5,
    "n_head": 4,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
} | {name: SIZES[name] for name in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"_target_": "transformers.LlamaConfig", **SIZES},
    "llama_tied": {"_target_": "transformers.LlamaConfig", **SIZES, "tie_word_embeddings": True},
    "llama_8": {"_target_": "transformers.LlamaConfig", **SIZES, "num_hidden_layers": 8},
    "qwen3": {"_target_": "transformers.Qwen3Config", **SIZES, "head_dim": 8},
    "gpt2": {"_target_": "transformers.GPT2Config", **GPT2},
    "mistral": {"_target_": "transformers.MistralConfig", **SIZES, "sliding_window": 8},
    "gemma2": {"_target_": "transformers.Gemma2Config", **SIZES, "head_dim": 8, "sliding_window": 8},
    "granite": {
        "_target_": "transformers.GraniteConfig",
        **SIZES,
        "embedding_multiplier": 12.0,
        "logits_scaling": 8.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.2,
    },
    "cohere": {"_target_": "transformers.CohereConfig", **SIZES, "logit_scale": 0.0625},
    "phi3": {"_target_": "transformers.Phi3Config", **SIZES},
    "qwen3_moe": {
        "_target_": "transformers.Qwen3MoeConfig",
        **SIZES,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "decoder_sparse_step": 1,
        "norm_topk_prob": True,
    },
}
ASSEMBLED = """model:
  config: {vocab_size: 300, hidden_size: 32, num_hidden_layers: 5, max_position_embeddings: 64}
attention: {num_heads: 4}
feedforward: {intermediate_size: 48}
"""
COMMON = (
    "model.attn_implementation=auto",
    "trainer.max_steps=10",
    "trainer.logging_steps=1",
    "trainer.per_device_train_batch_size=4",
    "trainer.gradient_accumulation_steps=2",
    "trainer.save_strategy=no",
    "trainer.eval_strategy=steps",
    "trainer.eval_steps=10",
)
HERE = os.path.dirname(__file__)


@dataclass
class Outcome:
    """What a run has written."""

    losses: list[float]
    norms: list[float]
    evaluated: list[float]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]


class Runs:
    """Runs of one project, a config for each family."""

    def __init__(self, folder: Path) -> None:
        self.project = small_run.make_project(folder / "project")
        text = (self.project / "configs" / "run.yaml").read_text()
        before, _, rest = text.partition("  config:\n")
        _, _, after = rest.partition("optimizer:")
        for name, config in FAMILIES.items():
            made = before + f"  config: {json.dumps(config)}\noptimizer:" + after
            (self.project / "configs" / f"{name}.yaml").write_text(made)
        parts = before.replace("  - _self_", "  - /model: assembled\n  - _self_").partition("model:\n")[0]
        (self.project / "configs" / "assembled.yaml").write_text(parts + ASSEMBLED + "optimizer:" + after)
        self.folder = folder / "frozen"

    def close(self) -> None:
        """Remove what the runs have written."""
        shutil.rmtree(self.folder.parent)

    def last_step(self, name: str) -> int:
        """The number of steps of a frozen run."""
        text = (self.folder / name / "run.json").read_text()
        return int(re.findall(r"trainer\.max_steps=(\d+)", text)[-1])

    def checkpoint(self, name: str, step: int) -> Path:
        """The checkpoint that a run has saved, or will save, at a step."""
        return self.folder.parent / "out" / name / "checkpoints" / f"checkpoint-{step}"

    def freeze(self, name: str, family: str, *overrides: str) -> str:
        """Freeze a run; its name is given back."""
        output = f"trainer.output_dir={self.folder.parent / 'out' / name}"
        chosen = forge.open(self.project).config(family, *COMMON, output, *overrides)
        chosen.freeze(str(self.folder / name))
        return name

    def carry_out(self, names: list[str], processes: int = 1) -> dict[str, Outcome]:
        """Carry out frozen runs one after another, each on so many processes."""
        wanted = [f"{name}={port}" for name, port in zip(names, _free_ports(len(names)), strict=True)]
        script = [os.path.join(HERE, "pipeline_process.py"), str(self.folder), *wanted]
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [*(start if processes > 1 else [sys.executable]), *script]
        done = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=float(os.environ.get("T", "150")),
        )
        assert done.returncode == 0, done.stderr.partition("Traceback")[2][:6000] or done.stderr[-2000:]
        return {name: self.outcome(name) for name in names}

    def outcome(self, name: str) -> Outcome:
        """What a run has written; of parameters that several processes have, all must be the same."""
        rows = [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]
        trained = [row for row in rows if "loss" in row]
        return Outcome(
            [row["loss"] for row in trained],
            [row["grad_norm"] for row in trained],
            [row["eval_loss"] for row in rows if "eval_loss" in row],
            self._united(f"{name}.gradients"),
            self._united(f"{name}.weights"),
        )

    def _united(self, name: str) -> dict[str, Tensor]:
        import torch
        from safetensors.torch import load_file

        found: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob(f"{name}.*")):
            for key, tensor in load_file(path).items():
                assert key not in found or torch.equal(found[key], tensor), f"{key} differs between processes"
                found[key] = tensor
        return found


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def difference(one: Outcome, other: Outcome) -> dict[str, float]:
    """How far two runs are from each other: the largest relative difference of each kind."""

    def numbers(ours: list[float], theirs: list[float]) -> float:
        return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))

    def tensors(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
        assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
        return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-12)) for name in theirs)

    return {
        "loss": numbers(one.losses, other.losses),
        "norm": numbers(one.norms, other.norms),
        "eval": numbers(one.evaluated, other.evaluated),
        "gradients": tensors(one.gradients, other.gradients),
        "weights": tensors(one.weights, other.weights),
    }
