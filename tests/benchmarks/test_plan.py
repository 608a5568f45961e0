"""The plan benchmark: its worker measures, and every case has something counted for it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("plan")


def test_every_case_has_a_peak(plan: ModuleType) -> None:
    counted = {name: plan.predicted(name) for name in plan.CASES}
    assert len(counted) >= 20
    assert all(10e6 < peak < 2e9 for peak in counted.values())


@pytest.mark.torch
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak of a process is Linux's to say")
def test_a_worker_measures_a_peak() -> None:
    pytest.importorskip("torch")
    model = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    model |= {"num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 512}
    words = [sys.executable, str(FOLDER / "plan_worker.py"), json.dumps({"rows": 1, "tokens": 64, "model": model})]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["peak"] > 0
