"""Runs without a training: a folder, a stand-in for the module that trains, and what starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.control.processes import end_family, identity
from forge.launch.agent import AGENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from forge.control.processes import Identity

    Start: TypeAlias = Callable[..., subprocess.Popen[str]]
    Until: TypeAlias = Callable[..., None]

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the tests share what is no test
TORCHRUN = [sys.executable, *AGENT]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder."""
    folder = tmp_path / "the run"
    folder.mkdir()
    return folder


@pytest.fixture
def start(run: Path) -> Iterator[Start]:
    """Starts the ranks of a run below what looks after them; ``how`` is what becomes of them, ``flags`` are torchrun's.

    Without flags something quicker takes torchrun's place: ``agent``.
    """
    begun: list[tuple[subprocess.Popen[str], Identity | None]] = []

    def begin(
        *flags: str,
        how: str,
        options: tuple[str, ...] = (),
        module: str = "standin",
        agent: str = "agent",
        **changes: str,
    ) -> subprocess.Popen[str]:
        above = [*TORCHRUN, *flags] if flags else [*TORCHRUN[:-1], agent]
        ranks = ["-m", "forge.launch.rank", module, str(run)]
        process = subprocess.Popen(
            [sys.executable, "-m", "forge.launch.node", *options, str(run), *above, *ranks],
            env={**os.environ, "OMP_NUM_THREADS": "1", "HOW": how, "PYTHONPATH": str(HERE), **changes},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append((process, identity(process.pid)))
        return process

    yield begin
    for process, who in begun:
        if who is not None:
            end_family(who, 0)
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            pipe.close()
        process.wait(timeout=20)


@pytest.fixture
def until() -> Until:
    """Waits until something is so."""

    def wait(condition: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.02)

    return wait
