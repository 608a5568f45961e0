"""How much memory each part of the memory kit saves and what it costs in time: ``python benchmarks/memory.py``.

Each combination trains the same model on the same tokens: once in a process of its own for the peak of its memory, and once in
turn with the plain run for its time. ``--write docs/performance.md`` puts the table into the section "Memory".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from own_venv import ROOT
from report import NONE, Table, Verdict, machine, ratio_text, with_section

_HERE = Path(__file__).resolve().parent
_TIMEOUT = 1800
_BF16 = {"weights": "bfloat16"}
_ALL = {"lean": True, "checkpointing": True, "offload": True, "fused": True, "linear_loss": True}
_LEAST = {**_BF16, **_ALL}
# What is done, and whether its losses are those of the plain run but for the last bits.
COMBINATIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "plain: float32, AdamW": ({}, True),
    "lean norms and gates": ({"lean": True}, True),
    "checkpointing: full": ({"checkpointing": True}, True),
    "checkpointing: every 2nd layer": ({"checkpointing": 2}, True),
    "checkpointing: selective": ({"checkpointing": "selective"}, True),
    "offloading": ({"offload": True}, True),
    "checkpointing, offloading": ({"checkpointing": True, "offload": True}, True),
    "fused backward": ({"fused": True}, True),
    "checkpointing, fused backward": ({"checkpointing": True, "fused": True}, True),
    "linear cross-entropy": ({"linear_loss": True}, True),
    "lean, linear cross-entropy": ({"lean": True, "linear_loss": True}, True),
    "all of these": (_ALL, True),
    "compiled": ({"compile": True}, True),
    "compiled, checkpointing: full": ({"compile": True, "checkpointing": True}, True),
    "bf16 autocast": ({"precision": "bf16"}, False),
    "bf16 autocast, compiled": ({"precision": "bf16", "compile": True}, False),
    "bf16 autocast, lean": ({"precision": "bf16", "lean": True}, False),
    "bf16 weights": (_BF16, False),
    "bf16 weights, lean": ({**_BF16, "lean": True}, False),
    "Adafactor": ({"optimizer": "adafactor"}, False),
    "Muon": ({"optimizer": "muon"}, False),
    "AdamW, 8 bit": ({"optimizer": "AdamW8bit"}, False),
    "AdamW, 4 bit": ({"optimizer": "AdamW4bit"}, False),
    "bf16 weights, Adafactor, all of these": ({**_LEAST, "optimizer": "adafactor"}, False),
    "bf16 weights, AdamW, all of these": (_LEAST, False),
}
_SAME = 1e-5


class Result(NamedTuple):
    """What was measured of one combination."""

    name: str
    peak: dict[str, Any] | None
    time: dict[str, Any] | None
    note: str = ""


def main() -> int:
    """Measure, print, and perhaps write; 1 when a combination did not run or changed the loss."""
    options = _options()
    results = [_measured(name, options) for name in options.only]
    table = _table(results)
    body = f"{_intro(options)}\n\n{table.markdown()}"
    print(body)
    if options.write:
        options.write.write_text(with_section(options.write, "Memory", body))
    failures = [f"{result.name} did not run: {result.note}" for result in results if result.note]
    for line in [*failures, *(f"another loss: {row}" for row in table.unmet)]:
        print(line, file=sys.stderr)
    return 1 if failures or table.unmet else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="10m", help="10m, 34m, 1b, 7b or 8b parameters, about")
    parser.add_argument("--batch", type=int, default=1, help="rows of a batch")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=5, help="steps of each measurement")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="threads of a process")
    parser.add_argument(
        "--only", nargs="+", choices=list(COMBINATIONS), default=list(COMBINATIONS), metavar="NAME", help="only these"
    )
    parser.add_argument("--no-time", dest="time", action="store_false", help="measure memory alone")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the measured processes")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    return parser.parse_args()


def _measured(name: str, options: argparse.Namespace) -> Result:
    print(f"measuring {name}", file=sys.stderr)
    peak = _work(name, "peak", options)
    took = _work(name, "time", options) if options.time and not isinstance(peak, str) else None
    note = next((answer for answer in (peak, took) if isinstance(answer, str)), "")
    return Result(name, None, None, note) if note else Result(name, peak, took)  # type: ignore[arg-type]


def _work(name: str, measure: str, options: argparse.Namespace) -> dict[str, Any] | str:
    """One worker process; a text when it failed."""
    sizes = {key: getattr(options, key) for key in ("size", "batch", "length", "steps", "device", "threads")}
    words = [options.python, str(_HERE / "memory_worker.py")]
    words.append(json.dumps({"measure": measure, "kit": COMBINATIONS[name][0], **sizes}))
    # Freed memory goes back to the system at once, so that the peak is what is in use; it costs time, so only here.
    own = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"} if measure == "peak" else {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **own}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=ROOT, timeout=_TIMEOUT, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return "it took too long"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def _intro(options: argparse.Namespace) -> str:
    measured = "the resident memory of the process" if options.device == "cpu" else "what the GPU's allocator gave out"
    return (
        f"Measured {machine()}. A llama of about {options.size.upper()} parameters from scratch, {options.batch} x "
        f"{options.length} tokens a step on {options.device}. Peak is the most of {measured} during "
        f"{options.steps - 1} steps after the first, beyond what it was before there was a model. Time is the median of "
        f"{options.steps} steps over that of the plain run, taken in turn in one process. Repeat it with "
        "`python benchmarks/memory.py`."
    )


def _table(results: list[Result]) -> Table:
    plain = next((result.peak for result in results if result.name == next(iter(COMBINATIONS)) and result.peak), None)
    text = (
        "Each combination on the same model and tokens. The losses of float32 combinations are those of the plain run but for "
        "the last bits; where the precision or the optimizer is another one, they have no reason to be. On a CPU there is "
        "nowhere to offload to, so that offloading changes nothing. 8 and 4 bit need the extra lowbit (torchao)."
    )
    head = ("what", "peak, MiB", "of plain", "time of plain", "first step, s", "loss, relative difference")
    return Table("Parts and combinations", text, head, [_row(result, plain) for result in results])


def _row(result: Result, plain: dict[str, Any] | None) -> tuple[str, ...]:
    if result.peak is None:
        return (result.name, *[NONE] * 5, *Verdict().cells)
    peak = f"{result.peak['bytes'] / 1024**2:,.0f}"
    share = ratio_text(result.peak["bytes"] / plain["bytes"]) if plain else NONE
    verdict, difference = Verdict(), NONE
    if plain:
        pairs = zip(result.peak["losses"], plain["losses"], strict=True)
        largest = max(abs(one - other) / other for one, other in pairs)
        difference = f"{largest:.0e}" if largest else "0"
        if COMBINATIONS[result.name][1]:
            verdict = Verdict(f"≤ {_SAME:.0e}", largest <= _SAME)
    return (result.name, peak, share, *_times(result.time), difference, *verdict.cells)


def _times(taken: dict[str, Any] | None) -> tuple[str, str]:
    if taken is None:
        return NONE, NONE
    pairs = zip(taken["seconds"]["kit"], taken["seconds"]["plain"], strict=True)
    return ratio_text(median(one / other for one, other in pairs)), f"{taken['first']['kit']:.1f}"


if __name__ == "__main__":
    sys.exit(main())
