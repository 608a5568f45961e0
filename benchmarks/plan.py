"""How near ``forge plan`` comes to the memory that runs really take: ``python benchmarks/plan.py``.

Each case trains a model on the CPU in a process of its own and holds the peak of its memory against what is counted for it, to
within a tenth. ``--write docs/performance.md`` puts the table into the section "Plan".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from own_venv import ROOT
from report import NONE, Table, Verdict, machine, with_section

sys.path.insert(0, str(ROOT))

from forge.plan.memory import rank_memory
from forge.plan.optimizer_state import OptimizerPlan
from forge.plan.setup import TrainingSetup
from forge.plan.shape import ModelShape

_HERE = Path(__file__).resolve().parent
_TIMEOUT = 900
_NEAR = 0.1
_SIZES: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "intermediate_size": 1408,
    "vocab_size": 16_384,
    "tie_word_embeddings": True,
}
_LLAMA = {"model_type": "llama", **_SIZES}
_GROUPED = {**_LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": False}
_NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_GPT2 = {
    "model_type": "gpt2",
    "n_embd": 512,
    "n_layer": 8,
    "n_head": 8,
    "vocab_size": 16_384,
    "n_positions": 512,
    **_NO_DROPOUT,
}
_EXPERTS = {
    **_LLAMA,
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
    "head_dim": 64,
}
_LOW = {"weights": "bfloat16", "rounding": True}
# rows, tokens of a row, the model, and what else the run chooses; with `model.kernels=lean`, as configs have it, if nothing else is said
CASES: dict[str, tuple[int, int, dict[str, Any], dict[str, Any]]] = {
    "llama": (1, 512, _LLAMA, {}),
    "llama, kernels=none": (1, 512, _LLAMA, {"lean": False}),
    "llama, longer": (2, 1024, _LLAMA, {}),
    "llama, untied, grouped heads": (2, 512, _GROUPED, {}),
    "accumulated twice": (2, 512, _LLAMA, {"accumulation": 2}),
    "checkpointing: full": (4, 512, _LLAMA, {"checkpointing": True}),
    "checkpointing: selective": (4, 512, _LLAMA, {"checkpointing": "selective"}),
    "checkpointing: every 2nd layer": (2, 512, _LLAMA, {"checkpointing": 2}),
    "fused backward": (2, 512, _LLAMA, {"fused": True}),
    "fused backward, checkpointing": (4, 512, _LLAMA, {"fused": True, "checkpointing": True}),
    "whole logits": (2, 512, _LLAMA, {"whole_logits": True}),
    "bf16 autocast": (2, 512, _LLAMA, {"precision": "bf16"}),
    "bf16 autocast, kernels=none": (2, 512, _LLAMA, {"precision": "bf16", "lean": False}),
    "bf16 autocast, checkpointing": (4, 512, _LLAMA, {"precision": "bf16", "checkpointing": True}),
    "compiled": (2, 512, _LLAMA, {"compiled": True}),
    "bf16 autocast, compiled": (2, 512, _LLAMA, {"precision": "bf16", "compiled": True}),
    "gpt2, compiled": (2, 512, _GPT2, {"compiled": True}),
    "bf16 weights, rounded by chance": (2, 512, _LLAMA, _LOW),
    "bf16 weights, Adafactor, fused, checkpointing": (
        *(2, 512, _LLAMA),
        {**_LOW, "optimizer": "adafactor", "fused": True, "checkpointing": True},
    ),
    "Adafactor": (2, 512, _LLAMA, {"optimizer": "adafactor"}),
    "Muon": (2, 512, _LLAMA, {"optimizer": "muon"}),
    "SGD with momentum": (2, 512, _LLAMA, {"optimizer": "sgd"}),
    "LoRA, rank 16": (2, 512, _LLAMA, {"adapter_rank": 16}),
    "LoRA, rank 16, bf16 weights": (2, 512, _LLAMA, {"adapter_rank": 16, "weights": "bfloat16"}),
    "qwen2": (2, 512, {**_LLAMA, "model_type": "qwen2"}, {}),
    "qwen3": (2, 512, {**_LLAMA, "model_type": "qwen3", "head_dim": 64}, {}),
    "granite": (2, 512, {**_LLAMA, "model_type": "granite"}, {}),
    "gpt2": (2, 512, _GPT2, {}),
    "gpt2, checkpointing": (4, 512, _GPT2, {"checkpointing": True}),
    "qwen3_moe, 8 experts": (2, 512, _EXPERTS, {}),
}


def main() -> int:
    """Measure, print, and perhaps write; 1 when a case did not run or was not near enough."""
    options = _options()
    rows = [_row(name) for name in options.only]
    text = "Peak beyond what the process had before there was a model, on the CPU, against what `forge plan` counts for it."
    table = Table("Predicted and measured peaks", text, ("run", "measured, MiB", "predicted, MiB", "difference"), rows)
    body = f"Measured {machine()}. Repeat it with `python benchmarks/plan.py`.\n\n{table.markdown()}"
    print(body)
    if options.write:
        options.write.write_text(with_section(options.write, "Plan", body))
    failed = [row[0] for row in rows if row[1] == NONE]
    for line in [*(f"{name} did not run" for name in failed), *table.unmet]:
        print(line, file=sys.stderr)
    return 1 if failed or table.unmet else 0


def predicted(name: str) -> float:
    """What is counted for a case."""
    rows, tokens, model, run = CASES[name]
    settings = {key: value for key, value in run.items() if key != "optimizer"}
    kind = run.get("optimizer", "adamw")
    setup = TrainingSetup(
        shape=ModelShape.from_config({**model, "max_position_embeddings": tokens}),
        optimizer=OptimizerPlan(kind, one_kernel=kind == "adamw"),
        device="cpu",
        batch_size=rows,
        sequence_length=tokens,
        **{"weights": "float32", "lean": True, **settings},
    )
    return rank_memory(setup, 0).peak


def _row(name: str) -> tuple[str, ...]:
    print(f"measuring {name}", file=sys.stderr)
    measured = _measured(name)
    counted = predicted(name)
    if measured is None:
        return (name, NONE, f"{counted / 2**20:,.0f}", NONE, *Verdict().cells)
    difference = counted / measured - 1
    cells = (f"{measured / 2**20:,.0f}", f"{counted / 2**20:,.0f}", f"{difference:+.1%}")
    return (name, *cells, *Verdict(f"≤ {_NEAR:.0%}", abs(difference) <= _NEAR).cells)


def _measured(name: str) -> int | None:
    rows, tokens, model, run = CASES[name]
    words = [
        sys.executable,
        str(_HERE / "plan_worker.py"),
        json.dumps({"rows": rows, "tokens": tokens, "model": model, **run}),
    ]
    # Freed memory goes back to the system at once, so that the peak is what is in use.
    own = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **own}
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, timeout=_TIMEOUT, check=False, env=environment
    )
    if done.returncode:
        print((done.stderr.strip().splitlines() or ["?"])[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])["peak"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(";"), default=list(CASES), help="names, by semicolons")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
