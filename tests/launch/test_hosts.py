"""Machines that are reached by ssh; in place of ssh, something that runs the command here, in a session of its own."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.control.processes import identity
from forge.launch.hosts import host_commands, hosts_file
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Until

HERE = Path(__file__).parent
HOSTS = ("hal:4", "dave@muthur:2")


def topology(**changes: Any) -> Topology:
    return Topology(**{"kind": "ssh", "nodes": 2, "hosts": HOSTS, **changes})


def test_each_host_has_its_own_number_of_processes() -> None:
    first, second = host_commands(topology(), "/shared/run 1", "/shared/here")
    assert [command[-2] for command in (first, second)] == ["hal", "dave@muthur"]
    assert all(command[:2] == ("ssh", "-T") for command in (first, second))
    words = [shlex.split(command[-1]) for command in (first, second)]
    assert words[0][:4] == ["cd", "/shared/here", "&&", "exec"]
    assert [line[line.index("--nproc-per-node") + 1] for line in words] == ["4", "2"]
    assert [line[line.index("--rdzv-conf") + 1] for line in words] == ["is_host=true", "is_host=false"]
    assert [line[line.index("--rdzv-endpoint") + 1] for line in words] == ["hal:29400"] * 2
    assert "--host" in words[0]
    assert "--join" in words[1]
    assert words[0][-1] == "/shared/run 1"


def test_what_is_asked_for_is_part_of_each_command() -> None:
    setup = ("source /shared/venv/bin/activate",)
    changed = topology(
        setup=setup, folder="/a b", tmp_dir="/scratch", python="python3", max_restarts=2, env={"A": "x y"}
    )
    for command in host_commands(changed, "/run", "/here"):
        start = "cd '/a b' && source /shared/venv/bin/activate && exec env PYTHONSAFEPATH=1 OMP_NUM_THREADS=1 "
        assert command[-1].startswith(start)
        words = shlex.split(command[-1])
        assert {"A=x y", "TMPDIR=/scratch", "python3", "--max-restarts"} <= set(words)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(value=TEXT, folder=TEXT)
def test_hostile_values_are_quoted(value: str, folder: str) -> None:
    command = host_commands(topology(env={"A": value}), f"/r{folder}", f"/h{folder}")[0]
    words = shlex.split(command[-1])
    assert words[1] == f"/h{folder}"
    assert f"A={value}" in words
    assert words[-1] == f"/r{folder}"


@pytest.fixture
def begin(run: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts two hosts, each with a process that stands in for its ranks."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec setsid --wait sh -c "$last"\n')
    ssh.chmod(0o755)

    def start(how: str, *, second: str | None = None, unreached: bool = False) -> subprocess.Popen[str]:
        commands = []
        for number, rank_does in enumerate((how, second or how)):
            ranks = [sys.executable, "-m", "forge.launch.rank", "standin", str(run)]
            node = [sys.executable, "-m", "forge.launch.node", "--input", "leash", "--grace", "0.5", str(run), *ranks]
            variables = [f"HOW={rank_does}", f"RANK={number}", f"PYTHONPATH={HERE}"]
            commands.append([str(ssh), "host", f"exec env {shlex.join([*variables, *node])}"])
        if unreached:
            commands[1][-1] = "exit 255"
        name, text = hosts_file(commands)
        (run / name).write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-m", "forge.launch.hosts", str(run)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        begun.append(process)
        return process

    begun: list[subprocess.Popen[str]] = []
    yield start
    for process in begun:
        process.kill()  # what it has started ends with it
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def pids(run: Path) -> list[int]:
    return [int(json.loads(file.read_text() or '{"pid": 0}')["pid"]) for file in run.glob("rank-?.json")]


def ended(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=60)
    return errors


def test_a_host_that_ends_is_seen_while_the_first_one_goes_on(begin: Callable[..., Any]) -> None:
    process = begin("wait", unreached=True)
    assert "ssh could not reach host" in ended(process)
    assert process.returncode == 255


@pytest.mark.parametrize("code", [0, 2])
def test_how_the_run_ended_is_the_exit_code(begin: Callable[..., Any], code: int) -> None:
    process = begin(str(code))
    ended(process)
    assert process.returncode == code


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_stops_all_hosts(begin: Callable[..., Any], run: Path, until: Until, sent: int) -> None:
    process = begin("wait")
    until(lambda: len(pids(run)) == 2)
    process.send_signal(sent)
    assert "stopping all hosts" in ended(process)
    assert process.returncode == 3


def test_the_second_ends_them(begin: Callable[..., Any], run: Path, until: Until) -> None:
    process = begin("deaf")
    until(lambda: len(pids(run)) == 2 and all(pids(run)))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # or it is the first one, heard twice
    process.send_signal(signal.SIGINT)
    ended(process)
    assert process.returncode == 130
    assert not any(identity(pid) for pid in pids(run))


def test_whoever_started_them_is_killed_and_nobody_is_left(begin: Callable[..., Any], run: Path, until: Until) -> None:
    process = begin("wait")
    until(lambda: len(pids(run)) == 2 and all(pids(run)))
    process.kill()
    ended(process)
    until(lambda: not any(identity(pid) for pid in pids(run)))


def test_a_host_that_is_not_reached_is_named(begin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert monkeypatch
    process = begin("0", unreached=True)
    assert "ssh could not reach host" in ended(process)
    assert process.returncode == 255


def test_the_folder_says_what_runs() -> None:
    name, text = hosts_file([("ssh", "a", "b")])
    assert (name, json.loads(text)) == ("hosts.json", [["ssh", "a", "b"]])
