"""Two hosts, each with an sshd of its own, and a third from which a run on both is started, shown and ended by the real ssh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import namespaces
import pytest
import ssh_server
from clusters import FULL, HERE, ROOT, Training, demand, digests, ended, pasted, quick_python, surroundings, wait_for
from namespaces import PLACES, Network

from forge.control.processes import identity
from forge.launch.agent import AGENT
from forge.launch.hosts import HostsKeeper, host_commands
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
HOSTS = ("hal", "muthur")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A desk, and two hosts that are reached from it."""
    demand("sshd", "ssh", "ssh-keygen", *namespaces.PROGRAMS)
    folder = tmp_path_factory.mktemp("ssh")
    with Network(folder, ["desk", *HOSTS]) as found:
        command, _ = ssh_server.settings(folder, found.addresses)
        servers = [found.start(host, *command, stderr=subprocess.DEVNULL) for host in HOSTS]
        with found.inside("desk"):
            for host in HOSTS:
                ssh_server.await_server(found.addresses[host])
        yield found
    for server in servers:
        server.wait(20)


@pytest.fixture
def desk(network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The same, while this process is at the desk."""
    monkeypatch.setenv("PATH", f"{network.folder}/bin:{PLACES}")
    with network.inside("desk"):
        yield network


@pytest.fixture
def commands(desk: Network, run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """What starts ranks on both hosts that do what is said, below something quicker than torchrun."""
    assert desk
    monkeypatch.setattr("forge.launch.torchrun.TRAINS", "standin")

    def make(*hows: str) -> list[list[str]]:
        environment = {"PYTHONPATH": f"{HERE}:{ROOT}", "HOW": "HOW", "FIRST_RANK": "NUMBER"}
        hosts = tuple(f"{host}:1" for host in HOSTS)
        address = desk.addresses[HOSTS[0]]
        topology = Topology(kind="ssh", nodes=2, hosts=hosts, env=environment, rdzv_endpoint=address)
        lines = [list(command) for command in host_commands(topology, str(run), str(run))]
        for number, (line, how) in enumerate(zip(lines, hows, strict=True)):
            said = line[-1].replace(" ".join(AGENT), str(HERE / "agent.py"))
            line[-1] = said.replace("HOW=HOW", f"HOW={how}").replace("FIRST_RANK=NUMBER", f"FIRST_RANK={number}")
        return lines

    return make


def _ranks(run: Path) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in sorted(run.glob("rank-?.json"))]
    return [json.loads(text) for text in texts if text]


@pytest.fixture
def trained(desk: Network, tmp_path: Path) -> Iterator[Callable[..., tuple[Training, subprocess.Popen[str], Path]]]:
    """Starts a small training on both hosts by the command line of forge: what it is, the command, and what it says."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*words: str, paste: bool = False) -> tuple[Training, subprocess.Popen[str], Path]:
        training, log = Training(tmp_path), tmp_path / "said.txt"
        kept = {
            name: value for name, value in os.environ.items() if name.startswith("FORGE_") and name.endswith("_HOME")
        }
        own = [f"+launch.env.{name}={value}" for name, value in kept.items()]
        where = ("launch=ssh", "--hosts", "hal:1,muthur:1", f"launch.rdzv_endpoint={desk.addresses['hal']}")
        with log.open("w") as file:
            line = training.words(*where, *own, *words)
            line = pasted(line, tmp_path) if paste else line
            variables = surroundings(PATH=os.environ["PATH"])
            process = subprocess.Popen(
                line, stdout=file, stderr=subprocess.STDOUT, env=variables, cwd=tmp_path, text=True
            )
        begun.append(process)
        return training, process, log

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def test_one_command_starts_shows_and_stops_both_hosts(trained: Callable[..., Any], tmp_path: Path) -> None:
    python = quick_python(tmp_path)
    variables = (f"+launch.env.PYTHONPATH='{HERE}:{ROOT}'", "+launch.env.HOW=wait")
    training, process, log = trained(f"launch.python={python}", *variables)
    wait_for(lambda: "rank 0 speaks" in log.read_text(), what="what the first rank prints", process=process)
    wait_for(lambda: len(_ranks(training.run)) == 2, what="two ranks", process=process)
    process.send_signal(signal.SIGINT)
    code, text = ended(process, log)
    assert code == 3, text
    assert "2 of 2 nodes are here: muthur (10.79.0.3) came" in text
    assert "stopping all hosts" in text
    assert [(rank["host"], rank["WORLD_SIZE"]) for rank in _ranks(training.run)] == [("hal", "2"), ("muthur", "2")]
    assert not any(identity(rank["pid"]) for rank in _ranks(training.run))


def test_one_host_fails_and_the_others_are_ended_after_their_time(
    commands: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("forge.launch.hosts._APART", 1.0)
    assert HostsKeeper(commands("wait", "die"), 1.0).run() == 1
    wait_for(lambda: not any(identity(rank["pid"]) for rank in _ranks(run)), what="the end of all ranks")
    assert "rank 0 speaks" in capfd.readouterr().out


def test_a_host_that_is_not_there_is_named_and_nobody_waits_for_it(
    commands: Callable[..., Any], desk: Network, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = commands("wait", "wait")
    lines[1][-2] = "desk"  # nobody listens there
    assert desk
    assert HostsKeeper(lines).run() == 255
    said = capfd.readouterr().err
    assert "Connection refused" in said
    assert "ssh could not reach desk" in said
    assert _ranks(run) == []


@pytest.mark.torch
@pytest.mark.skipif(not FULL, reason="a whole training on two hosts: set FORGE_FULL=1")
def test_what_a_dry_run_prints_trains_on_both(trained: Callable[..., Any]) -> None:
    training, process, log = trained(paste=True)
    code, text = ended(process, log, 240)
    assert code == 0, text
    assert "step 6/6" in text
    assert digests(training.output) == training.uninterrupted(2)
