"""Runs on hosts of their own, joined by a network that can be cut, with a host that can be killed; real torchrun and gloo."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import namespaces
import pytest
from clusters import FULL, Training, demand, digests, ended, surroundings, wait_for
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


def _by_hand(network: Network, training: Training, hosts: Sequence[str], *changes: str) -> list[Part]:
    """The same line on each host."""
    where = f"{network.addresses[hosts[0]]}:29400"
    flags = ("--", "--nnodes", str(len(hosts)), "--rdzv-endpoint", where, "--rdzv-id", "by-hand")
    words = training.words("-d", "cpu", "--nproc", "1", *changes, *flags)
    return [Part(network, host, words, training.output.parent) for host in hosts]


@pytest.mark.parametrize("fault", ["cut", "killed"] if FULL else ["cut"])
def test_a_link_is_cut_or_a_host_killed(network: Network, tmp_path: Path, fault: str) -> None:
    training, hosts = Training(tmp_path), HOSTS[:2]
    parts = _by_hand(network, training, hosts, "callback.hold.step=3", "trainer.hang_seconds=5.0")
    wait_for(training.held.exists, what="the step at which it is held", process=parts[0].process)
    (network.cut if fault == "cut" else network.kill)("muthur")
    training.go_on()
    said = [part.ended() for part in parts]
    assert [code for code, _ in said] == [1, 1 if fault == "cut" else -signal.SIGKILL], said
    assert "2 of 2 nodes are here: muthur (10.79.0.2) came" in said[0][1]
    title = (training.run / "casualty.txt").read_text().splitlines()[0]
    lost = "what joins hal, muthur may be cut, `forge doctor --hosts hal,muthur` looks at it"
    assert (lost if fault == "cut" else "rank 1 gave no answer, nor did its node muthur") in title
    assert all(title in text for code, text in said if code == 1)
    assert network.pids("hal") == network.pids("muthur") == []
    network.join("muthur")
    again = [part.ended() for part in _by_hand(network, training, hosts, "trainer.resume_from_checkpoint=auto")]
    assert [code for code, _ in again] == [0, 0], again
    assert "checkpoint-2" in again[0][1]
    # That it is exact is told by the tests of Slurm, too.
    assert not FULL or digests(training.output) == training.uninterrupted(2)


@pytest.fixture
def start(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Part]]:
    """Starts ranks on three hosts, which form a world and take steps together, or only say who they are."""
    run = tmp_path / "run"
    run.mkdir()

    def command(host: str) -> LocalLaunch:
        words = ("--nnodes", "3", "--rdzv-endpoint", f"{network.addresses['hal']}:29400", "--rdzv-id", "three")
        with network.inside(host):
            return plan_local("cpu", 1, words, around={}).launch(str(run))

    def begin(module: str = "gloo_rank", **variables: str) -> list[Part]:
        monkeypatch.setattr("forge.launch.torchrun.TRAINS", module)
        found = [(host, command(host)) for host in HOSTS]
        return [Part(network, host, one.command, tmp_path, **{**one.environment, **variables}) for host, one in found]

    return begin


def _worlds(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(run.glob("world-?.json"))]


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
    assert {(one["sum"], one["size"]) for one in worlds} == {(3.0, 3)}
    again = [part.ended() for part in start("standin", HOW="0")]
    assert [code for code, _ in again] == [0, 0, 0], again
    ranks = [json.loads((run / f"rank-{rank}.json").read_text()) for rank in range(3)]
    assert {rank["host"] for rank in ranks} == set(HOSTS)
    assert [(rank["RANK"], rank["WORLD_SIZE"]) for rank in ranks] == [("0", "3"), ("1", "3"), ("2", "3")]
