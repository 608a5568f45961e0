from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.build.build import build
from forge.compose.composer import compose_fresh
from forge.compose.project import find_project
from forge.graph.lower import lower
from forge.graph.node import Call
from forge.graph.walk import walk

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("config_tree")


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("timing")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("report")


@pytest.mark.parametrize(("nodes", "groups"), [(1, 1), (10, 10), (57, 20), (200, 20)])
def test_a_project_has_the_nodes_it_was_asked_for_spread_over_its_groups(
    module: ModuleType, tmp_path: Path, nodes: int, groups: int
) -> None:
    module.write_project(tmp_path / "made", nodes)
    composed = compose_fresh(find_project(str(tmp_path / "made")), module.CONFIG)
    calls = [node for node in walk(lower(composed).root) if isinstance(node, Call)]
    assert len(calls) == nodes
    assert len(composed.choices) == groups
    assert {len(call.kwargs) for call in calls} == {5}
    assert all(sum(edge.ref for edge in call.kwargs) == 2 for call in calls)


def test_nodes_share_the_first_node_of_their_group_when_they_are_built(module: ModuleType, tmp_path: Path) -> None:
    module.write_project(tmp_path / "made", 60)
    built = build(lower(compose_fresh(find_project(str(tmp_path / "made")), module.CONFIG)).root)
    assert isinstance(built, dict)
    part = built["part_19"]
    assert part["node_1"]["base"] is part["node_0"]
    assert part["node_2"]["base"] is part["node_0"]
    assert part["node_0"]["base"] == built["scale"]


def test_contenders_take_turns_and_only_a_peer_may_fail(timing: ModuleType) -> None:
    turns: list[str] = []

    def fail() -> None:
        raise RecursionError

    one = timing.Contender("one", lambda: turns.append("one"))
    two = timing.Contender("two", lambda: turns.append("two"))
    timings, _ = timing.take_turns([one, timing.Contender("bad", fail, peer=True), two], 2, 10)
    assert [len(each.seconds) for each in timings] == [2, 0, 2]
    assert timings[1].note == "fails: RecursionError"
    changes = sum(before != after for before, after in itertools.pairwise(turns))
    assert changes == 5  # the warm-ups, then two rounds
    with pytest.raises(RecursionError):
        timing.take_turns([timing.Contender("bad", fail)], 2, 10)


def test_a_call_over_its_limit_is_given_up(timing: ModuleType) -> None:
    def endless() -> None:
        while True:
            pass

    timings, answers = timing.take_turns([timing.Contender("endless", endless)], 2, 0.2)
    assert timings[0].note == "> 0.2 s"
    assert answers == [None]


def test_a_section_is_replaced_and_the_others_stay(report: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nHow.\n\n## Config\n\nold\n\n### Compose\n\nold\n\n## Training\n\nkept\n")
    page.write_text(report.with_section(page, "Config", "new"))
    assert page.read_text() == "# Performance\n\nHow.\n\n## Config\n\nnew\n\n## Training\n\nkept\n"
    page.write_text(report.with_section(page, "Serving", "more"))
    assert page.read_text().endswith("## Training\n\nkept\n\n## Serving\n\nmore\n")


def test_the_script_measures_its_smallest_size_without_peers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    words = ["--no-peers", "--sizes", "10,20", "--rounds", "1", "--only", "compose,lower,build,code,complete"]
    done = subprocess.run(
        [sys.executable, str(FOLDER / "config.py"), *words, "--write", str(page)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for title in ("Compose", "Lower", "Build", "Code", "Cost per node", "Completion"):
        assert f"### {title}\n" in done.stdout
        assert f"### {title}\n" in page.read_text()
    assert "hydra, instantiate" not in done.stdout
    assert not (tmp_path / ".venv").exists()
