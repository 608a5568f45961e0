"""What the nodes of a run tell one another through its folder: that their ranks come further, and what they found when none does."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import FileError
from forge.base.files import make_folder, make_new_folder, read_bounded, write_atomic
from forge.base.json_file import read_json
from forge.base.origin import shown_path
from forge.launch.casualty import Verdict, judge
from forge.launch.casualty_page import casualty_page
from forge.launch.rank_facts import RankFacts, from_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.control.heartbeat import Beat

__all__ = ["REPORT", "CasualtyReport", "Neighbours", "casualty_report"]

REPORT: Final = "casualty.txt"
"""The page about the last rank that died or hung, in the run folder."""
_CASUALTY: Final = "casualty-"
_NODE: Final = "node-"
_OFTEN: Final = 5.0  # seconds between two words of a node that its ranks come further
_GATHER: Final = 8.0  # in which the other nodes have said what they found, also where much runs there
_LARGEST: Final = 8 << 20


class CasualtyReport(NamedTuple):
    """What a node found out, as far as it prints it, and where the whole is."""

    verdict: Verdict
    text: str
    path: str

    @property
    def line(self) -> str:
        """The same in a line."""
        return f"casualty: {self.verdict}; see {shown_path(self.path)}"


class Neighbours:
    """The other nodes of a run, as far as its folder tells; a node alone asks nothing."""

    def __init__(self, run_folder: str) -> None:
        self._logs = os.path.join(run_folder, "logs")
        self._words = os.path.join(self._logs, "nodes")
        self.run_folder = run_folder
        self.node, self.nodes = 0, 1
        self.moved = 0.0  # when another node has last come further, by the clock of this one
        self.called = False
        self._known = 0
        self._asked = 0.0
        self._said: dict[str, bytes] = {}

    def begin(self) -> None:
        """Ranks start: what was reported before is not about them."""
        self._known = self._newest()
        self.called = False

    def publish(self, beats: Sequence[Beat]) -> None:
        """Say how far the ranks of this node are, and see how far the others came."""
        if beats:
            self.node, self.nodes = beats[0].node, beats[0].nodes
        if self.nodes == 1 or time.monotonic() < self._asked + _OFTEN:
            return
        self._asked = time.monotonic()
        folder = self._words
        with contextlib.suppress(FileError, OSError):
            make_folder(folder)
            text = json.dumps([{"rank": beat.rank, "host": beat.host, "place": beat.place} for beat in beats])
            write_atomic(os.path.join(folder, f"{_NODE}{self.node}.json"), text, durable=False)
            self._listen(folder)

    def homes(self) -> dict[int, str]:
        """The host of each rank that its node has spoken of, whatever has become of it since."""
        found: dict[int, str] = {}
        with contextlib.suppress(FileError, OSError, ValueError, TypeError, KeyError):
            for name in os.listdir(self._words):
                said = read_json(os.path.join(self._words, name), _LARGEST)
                found |= {int(one["rank"]): str(one["host"]) for one in said}
        return found

    def call(self) -> bool:
        """Whether another node reports now, and did not when it was asked before."""
        if self.nodes == 1 or self.called:
            return False
        self.called = self._newest() > self._known
        return self.called

    def place(self) -> str:
        """The folder for what all nodes find out now: one that another has begun, or a new one."""
        make_folder(self._logs)
        path = os.path.join(self._logs, f"{_CASUALTY}{self._known + 1}")
        with contextlib.suppress(FileError):  # another node was first
            make_new_folder(path)
        self.called = True
        return path

    def _listen(self, folder: str) -> None:
        for name in os.listdir(folder):
            if name == f"{_NODE}{self.node}.json" or not name.startswith(_NODE):
                continue
            said = read_bounded(os.path.join(folder, name), _LARGEST)
            if self._said.get(name) != said:
                self._said[name], self.moved = said, time.monotonic()

    def _newest(self) -> int:
        try:
            names = os.listdir(self._logs)
        except OSError:
            return 0
        numbers = (name.removeprefix(_CASUALTY) for name in names if name.startswith(_CASUALTY))
        return max((int(number) for number in numbers if number.isdecimal()), default=0)


def casualty_report(
    neighbours: Neighbours, facts: Sequence[RankFacts], dumps: Mapping[int, str], *, attempts_left: int
) -> CasualtyReport:
    """Write down what was found of the ranks of this node, and wait for the others.

    Every node comes to the same verdict; the first of those that have found something writes the page and prints it, the others
    say where it is.
    """
    folder = neighbours.place()
    for rank, dump in dumps.items():
        write_atomic(os.path.join(folder, f"rank-{rank}.txt"), dump or "it wrote no stack\n", durable=False)
    found = json.dumps([one._asdict() for one in facts])
    write_atomic(os.path.join(folder, f"{_NODE}{neighbours.node}.json"), found, durable=False)
    nodes = _heard(folder, neighbours.nodes)
    ranks = _gathered(folder, nodes)
    verdict = judge(ranks, neighbours.homes())
    path = os.path.join(neighbours.run_folder, REPORT)
    if neighbours.node != min(nodes):
        report = CasualtyReport(verdict, "", path)
        return report._replace(text=report.line)
    text = casualty_page(
        ranks,
        verdict,
        when=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        run=neighbours.run_folder,
        then=_then(attempts_left),
        details=folder,
    )
    write_atomic(path, text)
    return CasualtyReport(verdict, f"{text}this page: {shown_path(path)}", path)


def _then(attempts_left: int) -> str:
    if attempts_left < 1:
        return "the run is ended; --resume-from-checkpoint auto goes on from the newest checkpoint, if there is one"
    again = "once more" if attempts_left == 1 else f"up to {attempts_left} times more"
    return f"all ranks are ended, and torchrun starts them again ({again}), from the newest checkpoint if there is one"


def _heard(folder: str, count: int) -> list[int]:
    """The nodes that have said what they found: all of them, or those that did in time."""
    until = time.monotonic() + _GATHER
    while True:
        files = [
            name.removeprefix(_NODE).removesuffix(".json") for name in os.listdir(folder) if name.startswith(_NODE)
        ]
        nodes = sorted(int(number) for number in files if number.isdecimal())
        if len(nodes) >= count or time.monotonic() > until:
            return nodes
        time.sleep(0.1)


def _gathered(folder: str, nodes: Sequence[int]) -> list[RankFacts]:
    """What these nodes have found."""
    read = (read_json(os.path.join(folder, f"{_NODE}{node}.json"), _LARGEST) for node in nodes)
    return sorted((from_plain(one) for some in read for one in some), key=lambda one: one.rank)
