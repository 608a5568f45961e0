"""Chat templates written by somebody who means harm: none gets out of the sandbox, none runs on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
HERE = Path(__file__).parent
FULL = os.environ.get("FORGE_FULL") == "1"
LEAKED = re.compile(
    r"<(class|function|module|built-in|bound method|method|generator|code)|object at 0x|__globals__'|/etc/|uid="
)
# Reached by the pretty printer on its own data.
HARMLESS = {"builtins.id"}


def _lines(program: str, *arguments: str) -> list[Any]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    done = subprocess.run(
        [sys.executable, str(HERE / program), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_probe_reaches_anything_outside_the_sandbox() -> None:
    probes = _lines("probe.py", str(HERE / "hostile" / "probes.txt"))
    assert len(probes) >= 100
    leaked = [(probe, shown) for probe, shown, *_ in probes if LEAKED.search(shown)]
    assert leaked == []
    reached = [(probe, events) for probe, _, _, events, _ in probes if set(events) - HARMLESS]
    assert reached == []
    assert [probe for probe, *_, untouched in probes if not untouched] == []


def test_every_bomb_is_stopped_in_time_and_in_little_memory() -> None:
    seconds = 0.5 if FULL else 0.05
    bombs = _lines("explode.py", str(HERE / "hostile" / "bombs.txt"), str(seconds))
    assert len(bombs) >= 30
    assert [(bomb, end) for bomb, end, *_ in bombs if end not in ("stopped", "killed")] == []
    assert [(bomb, used) for bomb, _, used, _ in bombs if used > (1.0 if FULL else 0.4)] == []
    assert [(bomb, memory) for bomb, *_, memory in bombs if memory > 256 + 64] == []
    assert {end for _, end, *_ in bombs} == {"stopped", "killed"}  # each of the two ways is needed
