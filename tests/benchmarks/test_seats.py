"""Contenders that take single steps in turn: nobody computes while another does, and whoever does not come is named."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
# Notes when it has its turns, in a file of its own.
MEMBER = f"""
import sys, time
sys.path.insert(0, {str(FOLDER)!r})
from seats import Seat
seat = Seat()
with open(sys.argv[1], "w") as file:
    for _ in range(int(sys.argv[2])):
        seat.wait()
        began = time.monotonic()
        time.sleep(0.02)
        print(began, time.monotonic(), file=file, flush=True)
        seat.had()
"""
TWO = "import subprocess, sys; [p.wait() for p in [subprocess.Popen([sys.executable, '-c', sys.argv[1], f'{sys.argv[2]}.{i}', sys.argv[3]]) for i in (0, 1)]]"


@pytest.fixture
def seats(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("seats")


def test_nobody_has_a_turn_while_another_has_his(seats: ModuleType, tmp_path: Path) -> None:
    contenders = {
        "alone": seats.Contender([sys.executable, "-c", MEMBER, "alone.0", "5"], 1),
        "both": seats.Contender([sys.executable, "-c", TWO, MEMBER, "both", "5"], 2),
    }
    seconds = seats.take_turns(contenders, 5, tmp_path, os.environ)
    assert {name: len(each) for name, each in seconds.items()} == {"alone": 5, "both": 5}
    assert min(min(each) for each in seconds.values()) >= 0.02

    def turns(name: str) -> list[tuple[float, float]]:
        lines = (tmp_path / name).read_text().splitlines()
        return [(float(began), float(ended)) for began, ended in map(str.split, lines)]

    for mine in turns("alone.0"):
        for name in ("both.0", "both.1"):
            assert all(ended <= mine[0] or began >= mine[1] for began, ended in turns(name))


@pytest.mark.parametrize("left", [0, 2])
def test_who_does_not_come_or_leaves_early_is_named(seats: ModuleType, tmp_path: Path, left: int) -> None:
    short = MEMBER if left else "raise SystemExit('no')"
    contenders = {
        "whole": seats.Contender([sys.executable, "-c", MEMBER, "whole", "5"], 1),
        "short": seats.Contender([sys.executable, "-c", short, "short", str(left)], 1),
    }
    with pytest.raises(RuntimeError, match="short left before" if left else "short did not come: no"):
        seats.take_turns(contenders, 5, tmp_path, os.environ)
