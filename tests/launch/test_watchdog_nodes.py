from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.files import make_folder
from forge.control.heartbeat import Beat
from forge.control.processes import Identity, identity
from forge.launch.rank_facts import CallFrame, RankFacts
from forge.launch.watchdog_nodes import REPORT, Neighbours, casualty_report

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Start

NAP = (CallFrame("/p/data.py", 12, "fetch"),)


def beat(node: int = 0, nodes: int = 2, marks: int = 1) -> Beat:
    """What the only rank of a node says."""
    who = Identity(1, "x")
    return Beat(node, nodes, node, nodes, "hal", who, 0, 0, 3, marks, 1.0, 2.0, False, None, "data", "")


def facts(rank: int, **changes: Any) -> RankFacts:
    """A rank that sleeps."""
    return RankFacts(rank, 2, "hal", 100 + rank, 3, 20, "data", 31.0, "S", stack=NAP)._replace(**changes)


def test_a_node_hears_that_others_come_further(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.launch.watchdog_nodes._OFTEN", 0.0)
    first, second = Neighbours(str(run)), Neighbours(str(run))
    second.publish([beat(1, marks=1)])
    first.publish([beat(0)])
    heard = first.moved
    assert heard > 0
    second.publish([beat(1, marks=1)])
    first.publish([beat(0)])
    assert first.moved == heard
    second.publish([beat(1, marks=2)])
    first.publish([beat(0)])
    assert first.moved > heard


def test_where_the_ranks_of_the_others_are(run: Path) -> None:
    first, second = Neighbours(str(run)), Neighbours(str(run))
    assert first.homes() == {}
    second.publish([beat(1)._replace(host="dave")])
    first.publish([beat(0)])
    assert first.homes() == second.homes() == {0: "hal", 1: "dave"}


def test_a_node_alone_says_nothing_to_nobody(run: Path) -> None:
    alone = Neighbours(str(run))
    alone.publish([beat(0, nodes=1)])
    assert os.listdir(run) == []
    make_folder(run / "logs" / "casualty-1")
    assert not alone.call()


def test_a_node_joins_the_report_that_another_has_begun(run: Path) -> None:
    make_folder(run / "logs" / "casualty-4")  # of ranks that were there before
    make_folder(run / "logs" / "casualty-x")
    first, second = Neighbours(str(run)), Neighbours(str(run))
    for node, neighbours in enumerate((first, second)):
        neighbours.publish([beat(node)])
        neighbours.begin()
        assert not neighbours.call()
    place = first.place()
    assert os.path.basename(place) == "casualty-5"
    assert second.call()
    assert not second.call()  # it is known
    assert second.place() == place
    second.begin()
    assert os.path.basename(second.place()) == "casualty-6"


def test_a_node_that_does_not_answer_is_missed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.launch.watchdog_nodes._GATHER", 0.2)
    neighbours = Neighbours(str(run))
    neighbours.publish([beat(1)])
    report = casualty_report(neighbours, [facts(1)], {1: ""}, attempts_left=2)
    assert report.text != report.line  # of those that say something it is the first
    text = (run / REPORT).read_text()
    assert "of 1 more rank nothing was heard" in text
    assert "torchrun starts them again (up to 2 times more)" in text
    assert (run / "logs" / "casualty-1" / "rank-1.txt").read_text() == "it wrote no stack\n"
    assert json.loads((run / "logs" / "casualty-1" / "node-1.json").read_text())[0]["rank"] == 1


def test_all_nodes_come_to_the_same_page(run: Path) -> None:
    for node, one in enumerate((facts(0, state="T"), facts(1))):
        neighbours = Neighbours(str(run))
        neighbours.publish([beat(node)])
        (run / "logs" / "casualty-1").mkdir(parents=True, exist_ok=True)
        (run / "logs" / "casualty-1" / f"node-{1 - node}.json").write_text(
            json.dumps([facts(1)._asdict()] if node == 0 else [])
        )
        report = casualty_report(neighbours, [one], {node: "x"}, attempts_left=1)
        assert (node == 0) == (report.text != report.line)
    assert "(once more)" in (run / REPORT).read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="how a process is, and how it ended, is read from /proc")
@pytest.mark.parametrize(("how", "patience"), [("hang", "2"), ("killed", "3600")])
def test_two_nodes_find_the_rank_together(start: Start, run: Path, how: str, patience: str) -> None:
    world = {"GROUP_WORLD_SIZE": "2", "WORLD_SIZE": "4", "PATIENCE": patience}
    nodes = [start(how=how, GROUP_RANK=str(node), FIRST_RANK=str(2 * node), **world) for node in (0, 1)]
    said = [node.communicate(timeout=60)[1] for node in nodes]
    assert (run / REPORT).exists(), said
    text = (run / REPORT).read_text()
    title = text.splitlines()[0]
    assert title.startswith("casualty: rank 1 hangs" if how == "hang" else "casualty: rank 1 died: killed by SIGKILL")
    assert "nothing was heard" not in text
    assert "ranks 0, 2-3, innermost call first" in text or "rank 3" in text
    # Whoever comes first writes the page; the other one says where it is.
    assert sorted(text in one for one in said) == [False, True], said
    assert f"{title}; see " in next(one for one in said if text not in one)
    pids = [int(json.loads((run / f"rank-{rank}.json").read_text())["pid"]) for rank in range(4)]
    assert all(identity(pid) is None for pid in pids)
