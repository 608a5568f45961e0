"""Runs on hosts of their own, joined by a network that can be cut, with a host that can be killed; real torchrun and gloo."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import namespaces
import pytest
from clusters import (
    FULL,
    demand,
    digests,
    ended,
    forge_words,
    make_training,
    runs_of,
    surroundings,
    uninterrupted,
    wait_for,
)
from namespaces import Network

from forge.launch.local import plan_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from forge.launch.local import LocalLaunch

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.timeout(600)]
pytest.importorskip("torch")
HOSTS = ("hal", "muthur", "dave")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Three hosts."""
    demand(*namespaces.PROGRAMS)
    with Network(tmp_path / "hosts", HOSTS) as found:
        yield found


class Part:
    """What one host does for a run, and what it says."""

    def __init__(self, network: Network, host: str, words: Sequence[str], folder: Path, **variables: str) -> None:
        self.log = folder / f"{host}.txt"
        with self.log.open("w") as file:
            environment = surroundings(**variables)
            self.process = network.start(
                host, *words, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=folder
            )

    def ended(self) -> tuple[int, str]:
        """Its exit code, and what it has said."""
        return ended(self.process, self.log, 180)


def _by_hand(network: Network, project: Path, hosts: Sequence[str], *changes: str) -> list[Part]:
    """The same line on each host."""
    where = f"{network.addresses[hosts[0]]}:29400"
    words = forge_words(project, f"trainer.output_dir={project.parent}/out", "-d", "cpu", "--nproc", "1", *changes)
    flags = ("--", "--nnodes", str(len(hosts)), "--rdzv-endpoint", where, "--rdzv-id", "by-hand")
    return [Part(network, host, [*words, *flags], project.parent) for host in hosts]


@pytest.mark.parametrize("fault", ["cut", "killed"] if FULL else ["cut"])
def test_a_link_is_cut_or_a_host_killed(network: Network, tmp_path: Path, fault: str) -> None:
    project, hosts = make_training(tmp_path / "small"), HOSTS[:2]
    parts = _by_hand(network, project, hosts, "callback.hold.step=3", "trainer.hang_seconds=5.0")
    wait_for((project / "held").exists, what="the step at which it is held", process=parts[0].process)
    (network.cut if fault == "cut" else network.kill)("muthur")
    (project / "go").touch()
    said = [part.ended() for part in parts]
    assert [code for code, _ in said] == [1, 1 if fault == "cut" else -signal.SIGKILL], said
    assert "2 of 2 nodes are here: muthur (10.79.0.2) came" in said[0][1]
    (run,) = runs_of(tmp_path / "out")
    title = (run / "casualty.txt").read_text().splitlines()[0]
    lost = "what joins hal, muthur may be cut, `forge doctor --hosts hal,muthur` looks at it"
    assert (lost if fault == "cut" else "rank 1 gave no answer, nor did its node muthur") in title
    assert all(title in text for code, text in said if code == 1)
    assert network.pids("hal") == network.pids("muthur") == []
    if not FULL:
        return
    network.join("muthur")
    again = [part.ended() for part in _by_hand(network, project, hosts, "trainer.resume_from_checkpoint=auto")]
    assert [code for code, _ in again] == [0, 0], again
    assert "checkpoint-2" in again[0][1]
    assert digests(tmp_path / "out") == uninterrupted(project, 2)


@pytest.fixture
def start(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Part]]:
    """Starts ranks on three hosts that form a world, and take steps together."""
    monkeypatch.setattr("forge.launch.torchrun.TRAINS", "gloo_rank")
    run = tmp_path / "run"
    run.mkdir()

    def command(host: str) -> LocalLaunch:
        words = ("--nnodes", "3", "--rdzv-endpoint", f"{network.addresses['hal']}:29400", "--rdzv-id", "three")
        with network.inside(host):
            return plan_local("cpu", 1, words, around={}).launch(str(run))

    def begin(**variables: str) -> list[Part]:
        found = [(host, command(host)) for host in HOSTS]
        return [Part(network, host, one.command, tmp_path, **{**one.environment, **variables}) for host, one in found]

    return begin


def _worlds(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(run.glob("world-?.json"))]


@pytest.mark.skipif(not FULL, reason="three hosts, of which one is killed: set FORGE_FULL=1")
def test_one_of_three_hosts_is_killed(start: Callable[..., list[Part]], network: Network, tmp_path: Path) -> None:
    run = tmp_path / "run"
    parts = start(PATIENCE="8")
    wait_for(lambda: len(_worlds(run)) == 3, what="a world of three", process=parts[0].process)
    worlds = _worlds(run)
    told = run / "logs" / "nodes"
    wait_for(lambda: len(list(told.glob("node-*.json"))) == 3, what="word of every node")
    lost = next(rank for rank, one in enumerate(worlds) if one["host"] == "dave")
    network.kill("dave")
    parts[2].process.wait(30)
    said = [part.ended() for part in parts[:2]]
    assert [code for code, _ in said] == [1, 1], said
    title = (run / "casualty.txt").read_text().splitlines()[0]
    assert title == f"casualty: rank {lost} gave no answer, nor did its node dave"
    assert all(title in text for _, text in said)
    assert network.pids("hal") == network.pids("muthur") == []
    network.join("dave")
    again = [part.ended() for part in start(STEPS="1")]
    assert [code for code, _ in again] == [0, 0, 0], again
    assert {one["host"] for one in _worlds(run)} == set(HOSTS)
    assert {(one["sum"], one["size"]) for one in _worlds(run)} == {(3.0, 3)}
