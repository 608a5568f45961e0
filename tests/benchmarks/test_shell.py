from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_script_measures_a_small_config_and_the_start(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    words = ["--candidates", "50", "--rounds", "1", "--write", str(page)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "shell.py"), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for title in ("Completion in the shell", "Start of the shell"):
        assert f"### {title}\n" in page.read_text()
    assert "`forge -i, until the prompt`" in done.stdout
