"""The memory benchmark: what it measures is true, and its table says what was measured."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"
SIZES = {"size": "tiny", "batch": 2, "length": 64, "steps": 2, "device": "cpu", "threads": 1}


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("memory")


def _work(measure: str, kit: dict[str, Any]) -> dict[str, Any]:
    pytest.importorskip("torch")
    words = [sys.executable, str(FOLDER / "memory_worker.py"), json.dumps({"measure": measure, "kit": kit, **SIZES})]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.torch
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak of a process is Linux's to say")
def test_a_worker_measures_a_peak_and_the_losses() -> None:
    everything = {"checkpointing": True, "offload": True, "fused": True, "linear_loss": True, "optimizer": "adafactor"}
    found = _work("peak", everything)
    assert found["bytes"] > 0
    assert len(found["losses"]) == 2
    assert found["losses"][0] == pytest.approx(5.5, abs=0.5)  # of 256 tokens, nothing is known


@pytest.mark.torch
def test_a_worker_times_a_run_in_turn_with_the_plain_one() -> None:
    found = _work("time", {"precision": "bf16", "weights": "bfloat16"})
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {"plain": 2, "kit": 2}
    assert all(seconds > 0 for run in found["seconds"].values() for seconds in run)


def test_the_table_compares_with_the_plain_run(memory: ModuleType) -> None:
    plain, other, precise = next(iter(memory.COMBINATIONS)), "checkpointing: full", "bf16 autocast"
    took = {"first": {"plain": 1.0, "kit": 2.0}, "seconds": {"plain": [1.0, 2.0, 4.0], "kit": [1.5, 3.0, 6.0]}}
    results = [
        memory.Result(plain, {"bytes": 2 * 1024**2, "losses": [2.0, 1.0]}, None),
        memory.Result(other, {"bytes": 1024**2, "losses": [2.0, 1.1]}, took),
        memory.Result(precise, {"bytes": 1024**2, "losses": [2.0, 1.1]}, took),
        memory.Result("Muon", None, None, "it took too long"),
    ]
    table = memory._table(results)
    assert table.rows[1] == (other, "1", "0.50", "1.50", "2.0", "1e-01", "≤ 1e-05", "**no**")
    assert table.rows[2][-2:] == ("-", "-")
    assert table.rows[3] == ("Muon", *["-"] * 7)
    assert table.unmet == [f"Parts and combinations: {other}, 1"]
