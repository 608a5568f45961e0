from __future__ import annotations

import json
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "launch"))

import ssh_server

from forge.control.known import find_job
from forge.control.progress import RunProgress, write_progress
from forge.control.settings import SetAnswer, requests_in, write_set_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Forge, Run

    After = Callable[[str, Callable[[], None]], None]
    Begin = Callable[..., Path]
    Past = Callable[..., str]
    Until = Callable[[Callable[[], object]], None]


def answer_sets(folder: Path, until: Until) -> threading.Thread:
    """Answers the first request to change a run, as that would."""

    def answer() -> None:
        until((folder / "SET").exists)
        os.replace(folder / "SET", folder / "taken")
        ((token, values),) = requests_in((folder / "taken").read_bytes())
        error = "not now" if values.get("save_steps") == 13 else ""
        write_set_answers(str(folder), [SetAnswer(token, 7, {} if error else {"lr_scale": (1.0, 0.5)}, error)])

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


@pytest.fixture
def ssh(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real sshd, and a PATH on which ssh reaches it."""
    if why := ssh_server.missing():
        (pytest.fail if os.environ.get("CI") and os.geteuid() == 0 else pytest.skip)(why)
    server, programs = ssh_server.up(tmp_path)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    monkeypatch.setenv("PATH", environment["PATH"])
    yield
    ssh_server.down(server)


@pytest.mark.usefixtures("ssh")
def test_a_job_of_another_machine_is_looked_after_by_ssh(forge: Forge, begin: Begin) -> None:
    folder = begin()
    there = ("--host", "dave-is-not-asked")
    for words, says in (
        (["status", str(folder)], "state       running"),
        (["list"], "tiny-1"),
        (["logs", "tiny-1", "-n", "1"], "hello"),
        (["save", str(folder)], "tiny-1 saved step 7: "),
        (["stop", str(folder)], "tiny-1 stopped after"),
    ):
        done = forge("control", *words, *there)
        assert (done.returncode, says in done.stdout) == (0, True), done


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["stop"], ["cleanup"], ["logs", "nosuch", "-n", "3"]])
def test_a_word_is_the_verb_of_that_name(run: Run, words: list[str]) -> None:
    short = {"list": "jobs"}.get(words[0], words[0])
    assert run("control", *words) == run(short, *words[1:])


def test_list_and_cleanup_know_the_jobs(run: Run, past: Past) -> None:
    id_ = past()
    assert id_ in run("control", "list", "--all").out
    assert run("control", "cleanup", id_).out == f"forgot {id_}; the run folders stay\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "control needs WORD"),
        (["lsit"], "did you mean 'list'?"),
        (["list", "tiny-1"], "does not know what to do with 'tiny-1'"),
        (["stop", "a", "b"], "does not know what to do with 'b'"),
        (["stop", "--once"], "control stop has no flag --once"),
        (["status", "--follow"], "it belongs to logs"),
        (["status", "a", "b"], "'b' is one too many"),
        (["set"], "control set needs something to set"),
        (["set", "tiny-1"], "control set needs something to set"),
        (["set", "max_steps=3"], "max_steps cannot change while a run goes on"),
        (["set", "lr_scale=no"], "a factor above 0"),
        (["watch", "--interval", "0"], "--interval is at least 0.1 seconds"),
    ],
)
def test_a_wrong_line_is_told(run: Run, words: list[str], says: str) -> None:
    done = run("control", *words)
    assert done.code == 2
    assert says in done.errors


def test_status(run: Run, begin: Begin) -> None:
    folder = begin()
    done = run("control", "status")
    assert done.code == 0
    assert "state       running" in done.out
    assert "step        5/300  loss 2.5000  9 tokens/s" in done.out
    data = json.loads(run("control", "status", str(folder), "--json").out)
    assert (data["id"], data["state"], data["loss"]) == ("tiny-1", "running", 2.5)


def test_set_waits_for_the_answer(run: Run, begin: Begin, until: Until) -> None:
    thread = answer_sets(begin(), until)
    assert run("control", "set", "lr_scale=0.5", "tiny-1") == (
        0,
        "tiny-1 goes by it from step 8 on: lr_scale 1 -> 0.5\n",
        "",
    )
    thread.join()


def test_set_says_why_not_and_has_json(run: Run, begin: Begin, until: Until) -> None:
    folder = begin()
    thread = answer_sets(folder, until)
    done = run("control", "set", "save_steps=13")
    thread.join()
    assert (done.code, done.errors) == (2, "error: tiny-1 changes nothing: not now\n")
    thread = answer_sets(folder, until)
    data = json.loads(run("control", "set", "lr_scale=0.5", "--json").out)
    thread.join()
    assert data["changed"] == {"lr_scale": [1.0, 0.5]}


def test_save_stop_saves_before_it_stops(run: Run, begin: Begin) -> None:
    folder = begin()
    done = run("control", "save-stop")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith("tiny-1 saved step 7: ")
    assert second.startswith("tiny-1 stopped after")
    assert (folder / "taken").exists()
    assert find_job("tiny-1").state == "stopped"


def test_watch_shows_one_picture_also_of_the_past(run: Run, begin: Begin, after: After) -> None:
    folder = begin()
    lines = [
        {"step": step, "loss": 3 / step, "tokens_per_second": 9.0, "seconds": {"forward": 1.0}} for step in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("control", "watch", "--once")
    assert done.code == 0
    assert "tiny-1  tiny  running" in done.out
    assert "loss 1.0000 (least 1.0000 at 3)" in done.out
    after("forge.report.figures.LoggedFigures", (folder / "STOP").touch)
    assert run("control", "watch").code == 0  # where there is no terminal, lines until it ends
    text = run("control", "watch", "tiny-1").out
    assert "stopped" in text
    assert "1 │" in text.replace("3 │", "1 │")


def test_watch_prints_a_line_for_what_has_happened(run: Run, begin: Begin, after: After) -> None:
    folder = begin()

    def go_on() -> None:
        write_progress(str(folder), RunProgress(6, 300, 2.25, 9.0))
        (folder / "GO").touch()

    after("forge.report.figures.LoggedFigures", go_on)
    done = run("control", "watch", "--interval", "0.1")
    lines = done.out.splitlines()
    assert lines[-1] == "tiny-1 finished  step 6/300  loss 2.2500  9 tokens/s"
    assert len(lines) <= 3
