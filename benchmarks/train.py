"""How quick forge trains, next to transformers, TRL and torchtune in the same run: ``python benchmarks/train.py``.

The same random llama, the same rows, the same precision and batch; the contenders take turns, each in a process of its own.
``--write docs/performance.md`` puts the tables into the section "Train" of that page.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from own_venv import ROOT
from report import NONE, Table, Verdict, machine, ratio_text, with_section
from train_venvs import FORGE, TORCHTUNE, TRL, ensure

if TYPE_CHECKING:
    from collections.abc import Iterable

_HERE = Path(__file__).resolve().parent
_WORK = _HERE / ".train"
_SIZES = ("10M", "50M")
_UNPACKED, _PACKED = 1.15, 1.5
_MEMORY = 0.7
_PREPARE = 3.0
_PREPARING = "prepare"
_BF16_WEIGHTS = "bf16 weights"  # and everything else in bf16, too; plain "bf16" is autocast over float32 weights
# Who of the contenders is forge: as the peers run, and computing again in the backward pass what is cheap to compute, or all of it.
_OURS = {"forge": "false", "forge, selective": "selective", "forge, checkpointing": "true"}


class Case(NamedTuple):
    """One comparison: which rows, how long, how many at once, and whether they are packed."""

    name: str
    chat: bool
    packed: bool
    length: int
    batch: int
    precision: str
    compile: bool = False

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}{', compiled' if self.compile else ''}"


class Step(NamedTuple):
    """One step that counts."""

    tokens: int
    trained: int
    seconds: float


class Result(NamedTuple):
    """What one process reported."""

    steps: list[Step]
    peak: int
    above_start: int
    first_loss: float
    last_loss: float


def _speed(results: list[Result]) -> tuple[float, float]:
    """Tokens, and trained tokens, a second: the medians of all steps, for a machine that stands still now and then."""
    steps = [step for result in results for step in result.steps]
    return median(step.tokens / step.seconds for step in steps), median(step.trained / step.seconds for step in steps)


CASES = (
    Case("text", chat=False, packed=False, length=256, batch=8, precision="fp32"),
    Case("text", chat=False, packed=False, length=256, batch=8, precision="bf16"),
    Case("text", chat=False, packed=False, length=256, batch=8, precision="bf16", compile=True),
    Case("text", chat=False, packed=False, length=256, batch=8, precision=_BF16_WEIGHTS),
    Case("chat packed", chat=True, packed=True, length=1024, batch=4, precision="fp32"),
    Case("chat packed", chat=True, packed=True, length=1024, batch=4, precision="fp32", compile=True),
    Case("chat packed", chat=True, packed=True, length=1024, batch=4, precision="bf16"),
    Case("chat packed", chat=True, packed=True, length=1024, batch=4, precision="bf16", compile=True),
    Case("chat packed", chat=True, packed=True, length=1024, batch=4, precision=_BF16_WEIGHTS),
)


def main() -> None:
    """Measure, print, and write what is asked for."""
    options = _options()
    pythons = {name: ensure(_HERE, name) for name in (FORGE, TRL, TORCHTUNE)}
    _WORK.mkdir(exist_ok=True)
    sizes = options.sizes.split(",")
    subprocess.run([pythons[FORGE], str(_HERE / "train_data.py"), str(_WORK), *sizes], check=True)
    limits = {precision: _matmul_limit(pythons[FORGE], precision) for precision in ("fp32", "bf16")}
    limits[_BF16_WEIGHTS] = limits["bf16"]
    tables = []
    for size in sizes:
        for case in CASES:
            if options.only in str(case):
                tables.append(_compare(size, case, pythons, limits[case.precision], options))
                print(tables[-1].markdown(), flush=True)
    if options.only in _PREPARING:
        tables.append(_prepare(pythons, options.rounds))
        print(tables[-1].markdown())
    limit = ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in limits.items())
    body = f"{machine()}. Matrix products of 2048 in the same run: {limit}.\n\n"
    body += "\n\n".join(table.markdown() for table in tables)
    if options.write:
        page = Path(options.write)
        page.write_text(with_section(page, "Train", body))
    for missed in (missed for table in tables for missed in table.unmet):
        print(f"missed: {missed}", file=sys.stderr)


def _compare(size: str, case: Case, pythons: dict[str, str], limit: float, options: argparse.Namespace) -> Table:
    contenders = [name for name in _contenders(case) if not options.who or name in options.who]
    found: dict[str, list[Result]] = {name: [] for name in contenders}
    notes: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in contenders:
            if name not in notes:
                try:
                    found[name].append(_run(name, size, case, pythons, options))
                except subprocess.CalledProcessError as error:
                    notes[name] = f"fails: {(error.stderr.strip().splitlines() or ['?'])[-1][:60]}"
                    print(f"{name}: {error.stderr[-2000:]}", file=sys.stderr)
    others = [results for name, results in found.items() if name not in _OURS and results]
    peers = [_speed(results)[0] for results in others]
    memory = [median(one.above_start for one in results) for results in others]
    rows = []
    for name in contenders:
        if name in notes or not found[name]:
            rows.append((name, notes.get(name, NONE), *[NONE] * 8))
            continue
        rows.append(_row(name, found[name], size, case, limit, max(peers, default=0), min(memory, default=0)))
    text = (
        f"{_number(size)} parameters, batch {case.batch} of at most {case.length} tokens, {case.precision}"
        f"{', torch.compile' if case.compile else ''}. Tokens without padding; memory is the peak above what is there after "
        f"the imports; the share is of the matrix-multiply limit. Medians of the steps of {options.rounds} rounds."
    )
    head = (
        "who",
        "tokens/s",
        "trained tokens/s",
        "of best peer",
        "memory, MB",
        "of best peer",
        "share of limit",
        "loss, first and last",
    )
    return Table(f"{size}: {case}", text, head, rows)


def _contenders(case: Case) -> tuple[str, ...]:
    """Of the peers torchtune has no mixed precision: its bf16 is bf16 weights."""
    quick = () if case.precision == "bf16" else ("torchtune",)
    return (*_OURS, *(("trl",) if case.chat else ("transformers",)), *quick)


def _row(
    name: str, results: list[Result], size: str, case: Case, limit: float, best: float, least: float
) -> tuple[str, ...]:
    speed, trained = _speed(results)
    memory = median(one.above_start for one in results)
    share = 6 * _number(size) * speed / 1e9 / limit
    verdict = NONE, NONE
    if name in _OURS and best:
        times = _PACKED if case.packed else _UNPACKED
        met = speed >= times * best and memory <= _MEMORY * least
        verdict = Verdict(f"{times}x, memory {_MEMORY}x", met).cells
    return (
        name,
        f"{speed:,.0f}",
        f"{trained:,.0f}",
        ratio_text(speed / best) if best else NONE,
        f"{memory / 1e6:,.0f}",
        ratio_text(memory / least) if least else NONE,
        f"{share:.0%}",
        f"{results[0].first_loss:.2f}, {results[0].last_loss:.2f}",
        *verdict,
    )


def _number(size: str) -> float:
    config = json.loads((_WORK / size / "config.json").read_text())
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    block = 4 * hidden * hidden + 3 * hidden * config["intermediate_size"]
    return block * layers + hidden * config["vocab_size"]


def _run(name: str, size: str, case: Case, pythons: dict[str, str], options: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory(dir=_WORK) as scratch:
        if name in _OURS:
            return _run_forge(pythons[FORGE], size, case, Path(scratch), options, _OURS[name])
        script, python = {
            "transformers": ("transformers_trainer.py", pythons[TRL]),
            "trl": ("trl_sft.py", pythons[TRL]),
            "torchtune": ("tune.py", pythons[TORCHTUNE]),
        }[name]
        task = {
            "model": str(_WORK / size),
            "data": str(_WORK / ("chat.jsonl" if case.chat else "text.jsonl")),
            "scratch": scratch,
            "steps": options.steps,
            "warm_up": options.warm_up,
            "assistant_only": case.chat,
            "fused": True,
            **case._asdict(),
        }
        last = _last_line([python, str(_HERE / "peers" / script), json.dumps(task)], scratch)
        return Result(
            [Step(*step) for step in last["steps"]],
            last["peak"],
            last["peak"] - last["before"],
            last["losses"][0],
            last["losses"][-1],
        )


def _run_forge(
    python: str, size: str, case: Case, scratch: Path, options: argparse.Namespace, checkpointing: str
) -> Result:
    packing = "best_fit" if case.packed else "none"
    words = ["-p", str(ROOT / "projects" / "pydoc"), "-t", "chat/full", "train", "-M", str(_WORK / size)]
    words += ["--output-dir", str(scratch), "--max-steps", str(options.steps), "--save-strategy", "no"]
    words += [f"dataset={'pydoc_chat' if case.chat else 'pydoc_text'}", f"dataset.max_length={case.length}"]
    words += [f"dataset.packing={packing}", f"trainer.per_device_train_batch_size={case.batch}"]
    words += ["trainer.gradient_accumulation_steps=1", "trainer.logging_steps=1", "trainer.eval_strategy=no"]
    words += [f"trainer.gradient_checkpointing={checkpointing}", f"trainer.torch_compile={str(case.compile).lower()}"]
    words += [f"trainer.mixed_precision={'bf16' if case.precision == 'bf16' else 'no'}", "optimizer.lr=1e-3"]
    dtype = "bfloat16" if case.precision == _BF16_WEIGHTS else "float32"
    words += [f"model.dtype={{_symbol_: torch.{dtype}}}", "optimizer.fused=true", "logging=none"]
    _output([python, "-m", "forge", *words], str(scratch))
    lines = [
        json.loads(line) for path in scratch.glob("runs/*/metrics.jsonl") for line in path.read_text().splitlines()
    ]
    steps = [line for line in lines if "seconds" in line]
    counted = [
        Step(
            now["tokens"] - before["tokens"],
            now["trained_tokens"] - before["trained_tokens"],
            sum(now["seconds"].values()),
        )
        for before, now in pairwise(steps[options.warm_up - 1 :])
    ]
    peak = steps[-1]["memory"]
    return Result(counted, peak, peak - _imports(python), steps[0]["loss"], steps[-1]["loss"])


def _imports(python: str) -> int:
    """The memory of a process that has imported what a run imports."""
    program = "import forge.ml.train.setup, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    return int(_output([python, "-c", program], str(_WORK)).strip().splitlines()[-1])


def _matmul_limit(python: str, precision: str) -> float:
    """The GFLOP/s of large matrix products on this machine now."""
    program = f"""
import time, torch
a = torch.randn(2048, 2048, dtype=torch.{"bfloat16" if precision == "bf16" else "float32"})
for _ in range(3): a @ a
began = time.perf_counter()
for _ in range(20): a @ a
print(20 * 2 * 2048**3 / (time.perf_counter() - began) / 1e9)
"""
    return float(_output([python, "-c", program], str(_WORK)))


def _prepare(pythons: dict[str, str], rounds: int) -> Table:
    """Tokenise and pack conversations: rows repeated so that a start of a process is no part of the figure."""
    rows = (_WORK / "chat.jsonl").read_text() * 8
    many = _WORK / "many.jsonl"
    many.write_text(rows)
    speeds: dict[str, list[float]] = {"forge": [], "trl": []}
    for _ in range(rounds):
        for name, found in speeds.items():
            with tempfile.TemporaryDirectory(dir=_WORK) as scratch:
                found.append(_prepare_once(name, pythons, many, scratch))
    best = median(speeds["trl"])
    table_rows = []
    for name, found in speeds.items():
        ratio = median(found) / best
        verdict = Verdict(f"{_PREPARE:g}x", ratio >= _PREPARE).cells if name == "forge" else (NONE, NONE)
        table_rows.append((name, f"{median(found):,.0f}", ratio_text(ratio), *verdict))
    text = "Conversations to packed sequences of 1024 tokens, from the file on disk to the end of preparation, nothing cached."
    return Table("Prepare", text, ("who", "tokens/s", "of TRL"), table_rows)


def _prepare_once(name: str, pythons: dict[str, str], data: Path, scratch: str) -> float:
    if name == "forge":
        last = _last_line(
            [pythons[FORGE], str(_HERE / "train_prepare.py"), str(_WORK / "10M"), str(data), scratch], scratch
        )
    else:
        task = {
            "model": str(_WORK / "10M"),
            "data": str(data),
            "scratch": scratch,
            "steps": 0,
            "warm_up": 1,
            "batch": 4,
            "length": 1024,
            "precision": "fp32",
            "compile": False,
            "packed": True,
            "assistant_only": False,
            "fused": False,
        }
        last = _last_line([pythons[TRL], str(_HERE / "peers" / "trl_sft.py"), json.dumps(task)], scratch)
    return float(last["tokens"] / last["prepared"])


def _last_line(command: Iterable[str], scratch: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_output(list(command), scratch).strip().splitlines()[-1])
    return found


def _output(command: list[str], scratch: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": scratch, "FORGE_CACHE_HOME": f"{scratch}/cache"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=scratch).stdout


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(_SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--warm-up", type=int, default=4)
    parser.add_argument("--only", default="", help=f"only cases whose name holds this; {_PREPARING} is one")
    names = (*_OURS, "transformers", "trl", "torchtune")
    parser.add_argument(
        "--who", nargs="+", default=[], choices=names, metavar="NAME", help=f"only these of {', '.join(names)}"
    )
    parser.add_argument("--write", help="the page to write the tables into")
    return parser.parse_args()


if __name__ == "__main__":
    main()
