"""One run of the plan benchmark, in a process of its own: its word is one JSON object, its answer is the peak in bytes.

It trains a small model with the parts that a config would choose and says how much memory that took beyond what the process had
before there was a model.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers

from forge.ml.data.batch import Batch
from forge.ml.loss import CausalLoss
from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.compile import compile_blocks
from forge.ml.memory.fused import FusedBackward
from forge.ml.memory.precision import choose_precision
from forge.ml.models.lean import put_lean
from forge.ml.optim.groups import parameter_groups
from forge.ml.optim.muon import Muon
from forge.ml.optim.rounding import StochasticRounding

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TrainedModel"]

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 256}


class TrainedModel:
    """A model with what trains it."""

    def __init__(self, case: dict[str, Any], sizes: dict[str, Any]) -> None:
        self.case = case
        self.model = _model(case, sizes).train()
        checkpoint_blocks(self.model, case.get("checkpointing", False))
        if case.get("compiled"):
            compile_blocks(self.model)
        self.optimizer = _optimizer(case)(parameter_groups(self.model))
        if case.get("fused"):
            FusedBackward(self.optimizer)
        weights = next(self.model.parameters()).dtype
        self.precision = choose_precision(case.get("precision", "no"), "cpu", weights)
        self.loss = CausalLoss(self.model, kind="whole" if case.get("whole_logits") else "auto")
        self.vocabulary = sizes["vocab_size"]

    def step(self) -> None:
        """One step of the optimizer, over as many passes as the case has."""
        for _ in range(self.case.get("accumulation", 1)):
            with self.precision.autocast():
                loss = self.loss.total(self._batch())
            loss.backward()
        if not self.case.get("fused"):
            self.optimizer.step()
            self.optimizer.zero_grad()

    def _batch(self) -> Batch:
        rows, length = self.case["rows"], self.case["tokens"]
        tokens = torch.randint(0, self.vocabulary, (rows, length), generator=torch.Generator().manual_seed(1))
        targets = torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)
        positions = torch.arange(length).expand_as(tokens)
        return Batch(tokens, targets, positions, None, tokens.numel(), tokens.numel())


def _model(case: dict[str, Any], sizes: dict[str, Any]) -> Any:
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CONFIG_MAPPING[case["model"]["model_type"]](
        **{**sizes, **special}, max_position_embeddings=case["tokens"], attn_implementation="sdpa"
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, case.get("weights", "float32")))
    if case.get("lean", True):
        put_lean(model)
    if case.get("adapter_rank") is None:
        return model
    import peft

    from forge.ml.models.adapter import put_adapter

    return put_adapter(
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=case["adapter_rank"], target_modules="all-linear")
    )


def _optimizer(case: dict[str, Any]) -> Callable[..., Any]:
    plain = {
        "adamw": partial(torch.optim.AdamW, fused=True),
        "adafactor": torch.optim.Adafactor,
        "muon": Muon,
        "sgd": partial(torch.optim.SGD, momentum=0.9),
    }[case.get("optimizer", "adamw")]
    if case.get("rounding"):
        return partial(StochasticRounding, optimizer=partial(plain, lr=1e-4))
    return partial(plain, lr=1e-4)


def _peak(case: dict[str, Any]) -> int:
    # What is loaded late does not count as the model's.
    heads = {
        name: case["model"][name] for name in ("num_attention_heads", "num_key_value_heads") if name in case["model"]
    }
    sizes = {name: value for name, value in case["model"].items() if name != "model_type"}
    tiny = TrainedModel({**case, "tokens": 32}, {**sizes, **TINY, **heads})
    tiny.step()
    tiny.step()
    del tiny
    gc.collect()
    before = _resident()
    trained = TrainedModel(case, sizes)
    trained.step()
    gc.collect()
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    trained.step()
    trained.step()
    return _highest() - before


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _highest() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"peak": _peak(json.loads(sys.argv[1]))}))
