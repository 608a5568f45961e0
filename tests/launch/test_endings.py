"""Runs of several processes that are done end with 0, all of them: nothing of theirs is left, and no library has the last word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
COUNT = 200 if os.environ.get("FORGE_FULL") else 2


@pytest.mark.timeout(3600)
def test_every_run_ends_well(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "many_endings.py"), str(tmp_path / "small"), str(COUNT)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[0, 0]] * COUNT
    for number in range(COUNT):
        assert (tmp_path / "small" / "out" / str(number) / "model.safetensors").exists()
