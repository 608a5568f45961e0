"""One measurement of the memory benchmark, in a process of its own: its words are one JSON object, its answer is another.

``{"measure": "peak", ...}`` trains a model with some parts of the memory kit and says how much memory that took beyond what the
process had before; ``{"measure": "time", ...}`` takes steps of that model and of a plain one in turn.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers

from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.compile import compile_blocks
from forge.ml.memory.fused import FusedBackward
from forge.ml.memory.offload import offload_activations
from forge.ml.memory.precision import choose_precision
from forge.ml.models.lean import put_lean
from forge.ml.optim.groups import parameter_groups
from forge.ml.optim.muon import Muon
from forge.ml.optim.rounding import StochasticRounding

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Run"]

# hidden size, layers, heads, key-value heads, feed-forward, vocabulary
SHAPES = {
    "tiny": (64, 2, 2, 2, 128, 256),
    "10m": (256, 6, 4, 4, 768, 16_384),
    "34m": (512, 8, 8, 8, 1408, 16_384),
    "1b": (2048, 16, 32, 8, 8192, 128_256),
    "7b": (4096, 32, 32, 8, 14_336, 32_000),
    "8b": (4096, 32, 32, 8, 14_336, 128_256),
}
PLAIN: dict[str, Any] = {}


class Run:
    """A model with some parts of the kit, which can take steps."""

    def __init__(self, options: dict[str, Any], kit: dict[str, Any]) -> None:
        self.device = torch.device(options["device"])
        self.kit = kit
        self.model = _model(options, kit).train()
        if kit.get("lean"):
            put_lean(self.model)
        checkpoint_blocks(self.model, kit.get("checkpointing", False))
        if kit.get("compile"):
            compile_blocks(self.model)
        self.optimizer = _optimizer(kit.get("optimizer", "adamw"), kit)(parameter_groups(self.model))
        if kit.get("fused"):
            FusedBackward(self.optimizer)
        self.precision = choose_precision(kit.get("precision", "no"), self.device)
        self.loss = _loss(self.model, linear=kit.get("linear_loss", False))
        self.tokens = _tokens(options, self.model.config.vocab_size).to(self.device)

    def step(self) -> float:
        """One step of training, and its loss."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.precision.autocast())
            if self.kit.get("offload"):
                stack.enter_context(offload_activations(self.model))
            loss = self.loss(self.tokens)
        loss.backward()
        if not self.kit.get("fused"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item()


def _model(options: dict[str, Any], kit: dict[str, Any]) -> Any:
    hidden, layers, heads, shared, inner, vocabulary = SHAPES[options["size"]]
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        intermediate_size=inner,
        tie_word_embeddings=options["size"] in ("10m", "34m", "1b"),
        max_position_embeddings=options["length"],
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    with torch.device(options["device"]):
        return transformers.AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, kit.get("weights", "float32"))
        )


def _optimizer(name: str, kit: dict[str, Any]) -> Callable[..., Any]:
    if name in ("AdamW8bit", "AdamW4bit"):
        import torchao.optim

        plain = getattr(torchao.optim, name)
    else:
        plain = {
            "adamw": partial(torch.optim.AdamW, fused=True),
            "adafactor": torch.optim.Adafactor,
            "muon": Muon,
            "sgd": torch.optim.SGD,
        }[name]
    if kit.get("weights") == "bfloat16":
        return partial(StochasticRounding, optimizer=partial(plain, lr=1e-4))
    return partial(plain, lr=1e-4)


def _loss(model: Any, *, linear: bool) -> Callable[[Any], Any]:
    """The mean loss of a batch, over whole logits or without them."""
    if not linear:
        return lambda tokens: _whole(model, tokens)
    from forge.ml.data.batch import Batch
    from forge.ml.loss import CausalLoss

    causal = CausalLoss(model)

    def mean(tokens: Any) -> Any:
        targets = torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], -100)], dim=1)
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        trained = targets.numel() - targets.shape[0]
        return causal.total(Batch(tokens, targets, positions, None, tokens.numel(), trained)) / trained

    return mean


def _whole(model: Any, tokens: Any) -> Any:
    logits = model(input_ids=tokens, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())


def _tokens(options: dict[str, Any], vocabulary: int) -> Any:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, vocabulary, (options["batch"], options["length"]), generator=generator)


def _peak(options: dict[str, Any], kit: dict[str, Any]) -> dict[str, Any]:
    """The most memory that steps take once everything has been made, beyond what the process had before."""
    device = torch.device(options["device"])
    _warm_up(options, kit)
    gc.collect()
    before = _resident() if device.type == "cpu" else 0
    run = Run(options, kit)
    losses = [run.step()]
    gc.collect()
    _forget_peak(device)
    losses += [run.step() for _ in range(options["steps"] - 1)]
    return {"bytes": _highest(device) - before, "losses": losses}


def _warm_up(options: dict[str, Any], kit: dict[str, Any]) -> None:
    """Train a tiny model the same way first, so that what is loaded late does not count as the model's."""
    run = Run({**options, "size": "tiny", "length": 32}, kit)
    run.step()
    run.step()
    if kit.get("compile"):
        torch.compiler.reset()


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _highest(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def _time(options: dict[str, Any], kit: dict[str, Any]) -> dict[str, Any]:
    """The seconds of steps of the plain run and of this one, in turn."""
    runs = {"plain": Run(options, PLAIN), "kit": Run(options, kit)}
    first = {name: _seconds(run) for name, run in runs.items()}
    _seconds(runs["kit"])
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options["steps"]):
        for name, run in runs.items():
            taken[name].append(_seconds(run))
    return {"first": first, "seconds": taken}


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run.step()
    if run.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _main() -> None:
    options = json.loads(sys.argv[1])
    if options.get("threads"):
        torch.set_num_threads(options["threads"])
    print(json.dumps({"peak": _peak, "time": _time}[options["measure"]](options, options["kit"])))


if __name__ == "__main__":
    _main()
