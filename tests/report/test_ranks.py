from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.control.heartbeat import HEARTBEATS, Beat
from forge.control.processes import Identity, identity
from forge.report.ranks import beats_of, rank_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

RANK = """
import sys
from forge.control.heartbeat import own_heart
own_heart().mark("backward", 12)
print("ready", flush=True)
sys.stdin.read()
"""


def beat(rank: int, step: int, phase: str, since: float | None = None) -> Beat:
    now = time.monotonic() if since is None else since
    place = {"rank": rank, "size": 9, "node": 0, "nodes": 1, "host": "h", "process": Identity(rank, "x")}
    tries = {"attempt": 0, "attempts": 0, "step": step, "marks": 1, "since": now, "until": now + 9}
    return Beat(**place, **tries, guilty=False, code=None, phase=phase, words="")


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[Identity]:
    """A process that says how far it is."""
    environment = {**os.environ, HEARTBEATS: str(tmp_path), "RANK": "3", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", RANK], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    who = identity(process.pid)
    assert who is not None
    yield who
    process.communicate("")


def test_a_rank_is_found_by_what_it_was_started_with(rank: Identity) -> None:
    (found,) = beats_of([rank, identity(os.getpid())])
    assert (found.rank, found.step, found.phase, found.process) == (3, 12, "backward", rank)
    assert beats_of([]) == beats_of([rank._replace(start="long ago")]) == []


def test_ranks_that_are_equally_far_share_a_line() -> None:
    beats = [beat(0, 5, "step"), beat(1, 5, "step"), beat(2, 5, "step"), beat(3, 4, "data", 1.0), beat(5, 5, "step")]
    first, second = rank_lines(beats)
    assert first.startswith("rank 3: step 4, data for ")
    assert second == "ranks 0-2, 5: step 5, step"
    assert rank_lines([]) == []
