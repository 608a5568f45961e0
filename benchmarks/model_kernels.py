"""What decides speed and memory, each beside the plain way to do it: ``python benchmarks/model_kernels.py``.

Attention inside packed documents, in a whole model, forward and backward; and ways to the loss of a linear head. The contenders of
a row take turns in one process; the peak memory of each way to the loss is that of a process of its own. Run it with the
interpreter of an environment that has the ``train`` extra.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from report import NONE, Table, Verdict, duration, machine, ratio_text
from timing import Contender, Timing, take_turns

from forge.ml.data.batch import Batch
from forge.ml.loss import CausalLoss
from forge.ml.loss.linear import linear_cross_entropy
from forge.ml.models.attention import DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT = 90.0
_CHAT = (30, 400)


class Head(NamedTuple):
    """A head and what it is given: trained tokens, width, classes, and how numbers are held."""

    tokens: int
    width: int
    classes: int
    precision: str


_ROWS = (1024, 2048, 4096)
_HEADS = (
    Head(2048, 256, 4096, "float32"),
    Head(2048, 512, 32000, "float32"),
    Head(2048, 512, 32000, "autocast"),
    Head(2048, 2048, 32000, "autocast"),
    Head(1024, 1024, 128256, "autocast"),
)


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("attention", "loss"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak", nargs=5, metavar=("WAY", "TOKENS", "WIDTH", "CLASSES", "PRECISION"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        way, *sizes, precision = arguments.peak
        print(_peak(way, Head(*map(int, sizes), precision)))
        return
    if arguments.only != "loss":
        print(_attention_table(arguments.rounds).markdown(), end="\n\n")
    if arguments.only != "attention":
        print(_loss_table(arguments.rounds).markdown(), end="\n\n")
    print(machine())


def _attention_table(rounds: int) -> Table:
    rows = []
    for precision in ("float32", "autocast"):
        for tokens in _ROWS:
            timings, _ = take_turns(
                [
                    Contender(name, _step(name, tokens, precision), peer=name != DOCUMENTS)
                    for name in (DOCUMENTS, "sdpa", "eager")
                ],
                rounds,
                _LIMIT,
            )
            speeds = [f"{tokens / timing.least:,.0f}" if timing.seconds else NONE for timing in timings]
            times = [_times(timing, timings[0]) for timing in timings[1:]]
            rows.append((f"{tokens} {precision}", *speeds, *times, *Verdict().cells))
    text = "Tokens a second of a llama (4 layers, 256 wide, 8 heads), loss and gradients, documents of 30 to 400 tokens in one row."
    head = ("row", DOCUMENTS, "sdpa + mask", "eager + mask", "times sdpa", "times eager")
    return Table("Attention in packed documents", text, head, rows)


def _step(name: str, tokens: int, precision: str) -> Callable[[], Any]:
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=8
    )
    loss = CausalLoss(AutoModelForCausalLM.from_config(config, attn_implementation=name))
    batch = _chat(tokens, config.vocab_size)

    def step() -> float:
        loss.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
            total = loss.total(batch)
        total.backward()
        return total.item()

    return step


def _chat(tokens: int, classes: int) -> Batch:
    draw = random.Random(tokens)  # noqa: S311 - a seeded generator makes a benchmark repeatable
    lengths = [draw.randint(*_CHAT)]
    while sum(lengths) < tokens:
        lengths.append(draw.randint(*_CHAT))
    lengths[-1] -= sum(lengths) - tokens
    row = torch.randint(classes, (1, tokens), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return Batch(row, row.roll(-1), positions, torch.tensor(lengths, dtype=torch.int32), tokens, tokens)


def _loss_table(rounds: int) -> Table:
    rows = []
    for head in _HEADS:
        ways = _ways(head)
        timings, _ = take_turns(
            [Contender(name, way, peer=name != "forge") for name, way in ways.items()], rounds, _LIMIT
        )
        peaks = {name: _peak_of(name, head) for name in ways}
        for timing in timings:
            title = f"{head.tokens} x {head.width} x {head.classes} {head.precision}"
            rows.append((title, timing.name, *_compared(timing, timings[0], peaks), *Verdict().cells))
    text = (
        "Loss and gradients of a linear head, tokens x width x classes: time in milliseconds, and memory at the peak in MiB "
        "beyond hidden states and head, gradients included."
    )
    return Table("Ways to the loss", text, ("head", "way", "time", "times forge", "memory", "of plain"), rows)


def _compared(timing: Timing, mine: Timing, peaks: dict[str, int]) -> tuple[str, ...]:
    memory = peaks[timing.name]
    share = ratio_text(memory / max(peaks["whole logits"], 1))
    time = duration(timing.least) if timing.seconds else NONE
    return time, _times(timing, mine), f"{memory >> 20:,}", share


def _times(timing: Timing, mine: Timing) -> str:
    """How many times as long as ours it takes; nothing where one of them took too long to be measured."""
    return ratio_text(timing.least / mine.least) if timing.seconds and mine.seconds else NONE


def _ways(head: Head) -> dict[str, Callable[[], Any]]:
    """The ways to the loss of one head, each with its gradients."""
    functional = torch.nn.functional
    torch.manual_seed(0)
    hidden = torch.randn(head.tokens, head.width, requires_grad=True)
    weight = torch.empty(head.classes, head.width).normal_(std=head.width**-0.5).requires_grad_()
    targets = torch.randint(head.classes, (head.tokens,))

    def differentiated(way: Callable[[], torch.Tensor]) -> Callable[[], Any]:
        def call() -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=head.precision == "autocast"):
                loss = way()
            return torch.autograd.grad(loss / head.tokens, [hidden, weight]) and None

        return call

    def whole() -> torch.Tensor:
        return functional.cross_entropy(functional.linear(hidden, weight).float(), targets, reduction="sum")

    ways = {"forge": lambda: linear_cross_entropy(hidden, weight, None, targets), "whole logits": whole}
    if hasattr(functional, "linear_cross_entropy"):
        # Its own choice for bfloat16 on a CPU takes tens of times as long as this one.
        low = head.precision == "autocast"
        options = torch.nn.LinearCrossEntropyOptions(acc_policy="balanced" if low else "auto")
        dtype = torch.bfloat16 if low else torch.float32
        ways["torch, chunked"] = lambda: functional.linear_cross_entropy(
            hidden.to(dtype), weight.to(dtype), targets, reduction="sum", options=options
        )
    return {name: differentiated(way) for name, way in ways.items()}


def _peak(way: str, head: Head) -> int:
    call = _ways(head)[way]
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is counted anew
    before = _memory("VmRSS")
    call()
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def _peak_of(way: str, head: Head) -> int:
    words = [sys.executable, str(Path(__file__).resolve()), "--threads", "1", "--peak", way, *map(str, head)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
