"""Two hosts, each with an sshd of its own, and a third from which a run on both is started, shown and ended by the real ssh."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import namespaces
import pytest
from clusters import (
    FULL,
    HERE,
    ROOT,
    demand,
    digests,
    ended,
    forge_words,
    make_training,
    surroundings,
    uninterrupted,
    wait_for,
)
from namespaces import PLACES, Network

from forge.control.processes import identity
from forge.launch.agent import AGENT
from forge.launch.hosts import HostsKeeper, host_commands, write_hosts
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
HOSTS = ("hal", "muthur")
SERVER = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile {folder}/sshd-%h.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
"""
CLIENT = """\
IdentityFile {folder}/user_key
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile none
StrictHostKeyChecking yes
"""
PLACE = "Host {name}\nHostName {address}\n"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A desk, and two hosts that are reached from it."""
    demand("sshd", "ssh", "ssh-keygen", *namespaces.PROGRAMS)
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    public = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"* {public}")
    wrapped = folder / "bin" / "ssh"
    wrapped.parent.mkdir()
    wrapped.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    wrapped.chmod(0o755)
    server = shutil.which("sshd", path=PLACES) or "sshd"
    os.makedirs("/run/sshd", exist_ok=True)  # where the package's own service would make it
    with Network(folder, ["desk", *HOSTS]) as found:
        places = (PLACE.format(name=name, address=address) for name, address in found.addresses.items())
        (folder / "ssh_config").write_text(CLIENT.format(folder=folder) + "".join(places))
        for host in HOSTS:
            (folder / f"sshd-{host}").write_text(SERVER.format(folder=folder).replace("%h", host))
            found.said(host, server, "-f", f"{folder}/sshd-{host}")
        yield found


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


def test_a_run_on_two_hosts_is_started_shown_and_stopped(
    commands: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    write_hosts(str(run), commands("wait", "wait"))
    log = tmp_path / "said.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "forge.launch.hosts", str(run)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: len(_ranks(run)) == 2, what="two ranks", process=process)
        wait_for(lambda: "rank 0 speaks" in log.read_text(), what="what the first rank prints")
        process.send_signal(signal.SIGINT)
        code, text = ended(process, log)
    finally:
        process.kill()
        process.wait()
    assert code == 3, text
    assert "2 of 2 nodes are here: muthur (10.79.0.3) came" in text
    assert "stopping all hosts" in text
    assert [rank["WORLD_SIZE"] for rank in _ranks(run)] == ["2", "2"]
    assert not any(identity(rank["pid"]) for rank in _ranks(run))


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
def test_forge_itself_trains_on_both(desk: Network, tmp_path: Path) -> None:
    project, output, log = make_training(tmp_path / "small"), tmp_path / "out", tmp_path / "said.txt"
    kept = {name: value for name, value in os.environ.items() if name.startswith("FORGE_") and name.endswith("_HOME")}
    environment = [f"+launch.env.{name}={value}" for name, value in kept.items()]
    words = [f"trainer.output_dir={output}", "launch=ssh", "launch.nproc_per_node=1", "launch.hosts=[hal,muthur]"]
    with log.open("w") as file:
        process = subprocess.Popen(
            forge_words(project, *words, *environment, f"launch.rdzv_endpoint={desk.addresses['hal']}"),
            stdout=file,
            stderr=subprocess.STDOUT,
            env=surroundings(PATH=os.environ["PATH"]),
            cwd=tmp_path,
        )
    code, text = ended(process, log, 240)
    assert code == 0, text
    assert "step 6/6" in text
    assert digests(output) == uninterrupted(project, 2)
