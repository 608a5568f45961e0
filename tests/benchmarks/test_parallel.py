"""The benchmark of layouts: it reads what a peer reports."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("parallel"), importlib.import_module("peers.measured")


def test_the_speed_of_a_peer_is_read_from_what_it_reports(
    modules: tuple[ModuleType, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    parallel, measured = modules
    for quick in (1, 2):
        made = measured.Measured(warm_up=1)
        made.ends = [0.0, 9.0, 9.0 + 1 / quick, 9.0 + 2 / quick, 90.0]
        for _ in made.ends:
            made.batch(100, 50)
        made.report()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line]
    assert [len(line["steps"]) for line in lines] == [4, 4]
    # One step of each took 9 s and one about 80: the machine stood still.
    assert parallel.peers_speed(lines) == pytest.approx((100 + 100 / 9) / 2 + (200 + 100 / 9) / 2)


def test_what_a_second_process_costs_is_held_against_what_it_costs_a_bare_loop(
    modules: tuple[ModuleType, ModuleType],
) -> None:
    parallel, _ = modules
    # The machine became half as fast between two steps; forge takes 1.2 times as long on two processes, the bare loop 1.25 times.
    ours, bare = [[(1.0, 1.2), (2.0, 2.4)]], [[(2.0, 2.5), (4.0, 5.0)]]
    row = parallel._beside_row(parallel._BESIDE[0], "forge", ours, bare)
    assert row == ("ddp: forge", "683", "1,138", "1.67", "-4.0%", "-4.0% to -4.0%", "≤ 3%", "yes")
    row = parallel._beside_row(parallel._BESIDE[0], "DistributedDataParallel", bare, bare)
    assert row[-4:] == ("-", "-", "-", "-")


def test_a_second_way_of_torchs_is_shown_beside_the_first_and_has_no_budget(
    modules: tuple[ModuleType, ModuleType],
) -> None:
    parallel, _ = modules
    (zero1,) = (layout for layout in parallel._BESIDE if layout.name == "zero1")
    first, second = zero1.torch
    bare, other = [[(1.0, 1.5)]], [[(1.0, 1.2)]]
    assert parallel._beside_row(zero1, first, bare, bare)[-4:] == ("-", "-", "-", "-")
    assert parallel._beside_row(zero1, second, other, bare)[-4:] == ("-20.0%", "-20.0% to -20.0%", "-", "-")
