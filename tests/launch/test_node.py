"""What looks after the ranks of a node: real torchrun, real signals, and a stand-in for the training."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.control.jobs import abort
from forge.control.known import find_job
from forge.control.processes import family, identity, is_alive
from forge.control.record import remove_records
from forge.control.register import register
from forge.control.requests import ENDING_FILE
from forge.launch.node import REQUEUE_FILE, Keeper, ending_of

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Start, Until

    from forge.control.processes import Identity

FULL = bool(os.environ.get("FORGE_FULL"))
TORCHRUN = ("--standalone", "--nproc-per-node=2")
QUICK = pytest.param((), id="agent")
REAL = pytest.param(TORCHRUN, id="torchrun", marks=pytest.mark.torch)


def _pids(run: Path) -> list[int]:
    return [int(json.loads(file.read_text())["pid"]) for file in run.glob("rank-*.json") if file.read_text()]


def _speak(run: Path) -> bool:
    return len(_pids(run)) == 2


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family_of(pid: int) -> set[Identity]:
    """A process, and those below it."""
    root = identity(pid)
    return set() if root is None else family([root])


def _gone(*pids: int) -> bool:
    return all(identity(pid) is None for pid in pids)


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        pytest.param(0, (), id="0"),
        pytest.param(2, (), id="2"),
        pytest.param(2, TORCHRUN, id="2-torchrun", marks=pytest.mark.torch),
    ],
)
def test_how_the_run_ended_is_the_exit_code(start: Start, run: Path, code: int, flags: tuple[str, ...]) -> None:
    (run / ENDING_FILE).write_text('{"code": 3, "reason": "of an earlier time"}')
    process = start(*flags, how=str(code))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == "rank 0 speaks\n"
    assert (run / "logs" / "rank-1.log").read_text() == "rank 1 speaks\n"


def test_where_no_rank_says_how_it_ended_the_agent_does(start: Start, run: Path) -> None:
    (run / ENDING_FILE).write_text('{"code": 0}')  # of an earlier time
    process = start(how="die")
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert _gone(*_pids(run))


@pytest.mark.torch
def test_a_run_that_is_started_again_by_its_agent_ends_as_it_ends_then(start: Start, run: Path) -> None:
    process = start("--standalone", "--nproc-per-node=2", "--max-restarts=1", how="flaky")
    process.communicate(timeout=90)
    assert process.returncode == 0
    assert (run / "logs" / "rank-1.log").read_text() == "rank 1 speaks\n" * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_the_first_signal_stops_all_ranks_through_the_folder(
    start: Start, run: Path, until: Until, number: int
) -> None:
    process = start(how="wait")
    until(lambda: _speak(run))
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert errors == "stopping: the run is saved after its step; Ctrl-C again ends it at once\n"


@pytest.mark.torch
@pytest.mark.parametrize(("options", "code"), [((), 3), (("--again", "143"), 143)])
def test_what_waits_for_other_nodes_has_nothing_to_save(
    start: Start, run: Path, until: Until, options: tuple[str, ...], code: int
) -> None:
    flags = ("--nnodes=2", "--nproc-per-node=1", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-conf=is_host=true")
    process = start("--rdzv-backend=c10d", *flags, how="wait", options=options)
    until(lambda: len(family_of(process.pid)) == 2)
    time.sleep(0.5)  # it has its signals
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors == "stopping: no rank has begun, so there is nothing to save\n"
    assert json.loads((run / ENDING_FILE).read_text())["code"] == 3


def test_the_second_interrupt_ends_what_does_not_hear(start: Start, run: Path, until: Until) -> None:
    process = start(how="deaf")
    until(lambda: _speak(run))
    os.kill(process.pid, signal.SIGINT)
    until((run / "STOP").exists)
    os.kill(process.pid, signal.SIGINT)  # the same Ctrl-C, heard twice
    time.sleep(0.5)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the grace
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert _gone(*_pids(run))


def test_a_terminal_that_is_gone_is_no_reason_not_to_save(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait")
    until(lambda: _speak(run))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()  # what it says now, nobody hears
    os.kill(process.pid, signal.SIGHUP)
    os.kill(process.pid, signal.SIGHUP)  # from the system, and from who has started it
    assert process.wait(timeout=60) == 3
    assert (run / "STOP").exists()


def test_an_abort_ends_it_at_once(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait")
    until(lambda: _speak(run))
    (run / "ABORT").touch()  # from whichever machine
    assert process.wait(timeout=30) == 130
    assert ending_of(str(run)).code == 130
    assert not (run / "STOP").exists()
    assert _gone(*_pids(run))


@pytest.mark.parametrize("flags", [QUICK, *([REAL] if FULL else [])])
@pytest.mark.parametrize("by_file", [False, True])
def test_an_abort_of_the_job_leaves_nobody(
    start: Start,
    run: Path,
    until: Until,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    by_file: bool,
    flags: tuple[str, ...],
) -> None:
    """By the processes of its record, or, from where there is none, by the file alone; its ranks hear nothing."""
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    process = start(*flags, how="deaf")
    until(lambda: _speak(run), 60)
    (run / "run.json").write_text('{"config": "tiny", "project": "demo", "overrides": []}')
    registered = register(config="tiny", project="demo", overrides=[], run_folder=str(run))
    registered.begun(process.pid)
    registered.let_go()
    if by_file:
        (run / "job.json").unlink()
        remove_records([registered.id])
    who = identity(process.pid)
    members = family([who])
    assert len(members) >= 4
    began = time.monotonic()
    assert abort(find_job(str(run))).state == "aborted"
    took = time.monotonic() - began
    process.wait(timeout=30)
    until(lambda: not any(map(is_alive, members)))
    assert took < (10 if FULL else 30)


@pytest.mark.parametrize("flags", [QUICK, REAL])
def test_whoever_is_killed_nobody_is_left(start: Start, run: Path, until: Until, flags: tuple[str, ...]) -> None:
    process = start(*flags, how="child")
    until(lambda: _speak(run) and len(list(run.glob("child-*"))) == 2)
    children = [int(file.read_text()) for file in run.glob("child-*")]
    agent = int(json.loads((run / "rank-0.json").read_text())["pid"])
    with open(f"/proc/{agent}/stat", encoding="ascii") as file:
        parent = int(file.read().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)  # the agent
    assert process.wait(timeout=30) == 128 + signal.SIGKILL
    assert _gone(*_pids(run), *children)


def test_a_leash_that_is_cut_ends_the_run(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait", options=("--input", "leash"))
    until(lambda: _speak(run))
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 130
    assert _gone(*_pids(run))


# A node that ignores SIGHUP, as nohup lets it, and to which a signal comes when it reaches one of its functions.
EARLY = """
import os, signal, sys
from forge.launch import node
signal.signal(signal.SIGHUP, signal.SIG_IGN)
setattr(node, sys.argv[1], lambda *_: os.kill(os.getpid(), signal.Signals[sys.argv[2]]))
sys.exit(node.main([*sys.argv[3:], sys.executable, "-c", "import time; time.sleep(60)"]))
"""


@pytest.mark.parametrize(
    ("function", "name", "code", "says"),
    [
        pytest.param("adopt_orphans", "SIGHUP", 130, "", id="ended, and ready for the command"),
        pytest.param("adopt_orphans", "SIGTERM", 3, "nothing to save", id="stopped, and ready for the command"),
        pytest.param("_fit", "SIGHUP", -signal.SIGHUP, "", id="ended before it listens"),
    ],
)
def test_what_comes_before_the_command_is_started_ends_it(
    run: Path, function: str, name: str, code: int, says: str
) -> None:
    line = [sys.executable, "-c", EARLY, function, name, "--input", "leash", "--grace", "0.5", str(run)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.wait(30) == code
        said = process.stderr.read() if process.stderr else ""
    assert says in said
    assert "is saved after its step" not in said


def test_a_word_on_the_leash_stops_it(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait", options=("--input", "leash"))
    until(lambda: _speak(run))
    assert process.stdin is not None
    process.stdin.write("stop\n")
    process.stdin.close()  # and what was asked for is done
    assert process.wait(timeout=30) == 3


def test_a_word_on_the_leash_ends_it_although_it_was_stopped(start: Start, run: Path, until: Until) -> None:
    process = start(how="deaf", options=("--input", "leash"))
    until(lambda: _speak(run))
    assert process.stdin is not None
    process.stdin.write("stop\nend\n")
    process.stdin.flush()
    assert process.wait(timeout=30) == 130
    assert _gone(*_pids(run))


def test_a_machine_that_is_taken_away_is_another_try(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait", options=("--again", "143"))
    until(lambda: _speak(run))
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert (run / REQUEUE_FILE).exists()
    again = start(how="0", options=("--again", "143"))
    assert again.wait(timeout=30) == 0
    assert not (run / REQUEUE_FILE).exists()
    assert not (run / "STOP").exists()


def test_a_job_that_its_cluster_ends_leaves_word_that_nobody_else_has_stopped_it(
    start: Start, run: Path, until: Until
) -> None:
    process = start(how="wait", options=("--mark", "requeue"))
    until(lambda: _speak(run))
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 3
    assert (run / REQUEUE_FILE).exists()


def test_an_operator_does_not_start_again_what_was_aborted(start: Start, run: Path) -> None:
    (run / "ABORT").touch()
    assert start(how="wait", options=("--again", "143")).wait(timeout=30) == 3


@pytest.mark.parametrize("options", [("--mark", "requeue"), ("--again", "143")])
def test_a_run_that_somebody_has_stopped_stays_stopped(
    start: Start, run: Path, until: Until, options: tuple[str, ...]
) -> None:
    process = start(how="deaf", options=(*options, "--grace", "0.1"))
    until(lambda: _speak(run))
    (run / "STOP").touch()
    os.kill(process.pid, signal.SIGTERM)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("stopping")
    assert not (run / REQUEUE_FILE).exists()


@pytest.mark.parametrize(("how", "code"), [("1", 143), ("2", 2), ("0", 0)])
def test_what_is_tried_again_and_what_is_not(start: Start, how: str, code: int) -> None:
    assert start(how=how, options=("--again", "143")).wait(timeout=30) == code


def test_a_frozen_config_is_taken_over_into_a_new_folder(start: Start, run: Path, tmp_path: Path) -> None:
    source = tmp_path / "config"
    (source / "..data").mkdir(parents=True)
    (source / "graph.json").write_text("{}")
    (run / "run.json").write_text("mine")
    (source / "run.json").write_text("theirs")
    assert start(how="0", options=("--from", str(source))).wait(timeout=30) == 0
    assert ((run / "graph.json").read_text(), (run / "run.json").read_text()) == ("{}", "mine")


@pytest.mark.torch
def test_two_nodes_with_unequal_numbers_of_processes(start: Start, run: Path) -> None:
    port = free_port()
    where = f"127.0.0.1:{port}"
    common = ("--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint={where}", "--rdzv-id=7", "--local-addr=127.0.0.1")
    roll = ("--nodes", "2", "--id", "7")
    second = start(
        *common, "--nproc-per-node=2", "--rdzv-conf=is_host=false", how="0", options=("--join", where, *roll)
    )
    first = start(*common, "--nproc-per-node=1", "--rdzv-conf=is_host=true", how="0", options=("--host", where, *roll))
    _, errors = first.communicate(timeout=60)
    assert "2 of 2 nodes are here" in errors
    assert (first.returncode, second.wait(timeout=60)) == (0, 0)
    ranks = [json.loads((run / f"rank-{rank}.json").read_text()) for rank in range(3)]
    assert sorted(rank["LOCAL_WORLD_SIZE"] for rank in ranks) == ["1", "2", "2"]


def test_a_node_that_does_not_come_is_named(start: Start) -> None:
    options = ("--host", f"127.0.0.1:{free_port()}", "--nodes", "3", "--id", "7", "--patience", "0.3")
    process = start(how="0", options=options)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "2 nodes of 3 never came within 0 seconds; here are" in errors


def test_ranks_do_not_outlive_the_one_that_looks_after_them(start: Start, run: Path, until: Until) -> None:
    process = start(how="wait")
    until(lambda: _speak(run))
    process.kill()
    process.wait()
    until(lambda: _gone(*_pids(run)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"code": "x"}', '{"code": null}', "null"])
def test_an_ending_that_cannot_be_read_is_none(run: Path, text: str) -> None:
    assert ending_of(str(run)) is None
    (run / ENDING_FILE).write_text(text)
    assert ending_of(str(run)) is None


def test_a_folder_that_cannot_be_written_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keeper = Keeper(str(run / "not there"))
    keeper._on_signal(signal.SIGTERM, None)
    assert "the run cannot be asked to stop: " in capsys.readouterr().err
    assert not keeper.aborted
