"""Jobs as they are found by a record or by a run folder, and how each is told to be."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import UsageError
from forge.control.caller import call
from forge.control.known import FACTS, KnownJob, as_now, find_job, job_of_run, shown_loss, spoken_time
from forge.control.processes import identity
from forge.control.progress import RunProgress, write_progress
from forge.control.record import change_record, read_copy, read_record, remove_records
from forge.control.register import Registration, register
from forge.control.requests import ask_to_abort, ask_to_save, ask_to_stop, save_answer
from forge.control.settings import ask_to_set, set_answer
from forge.report.status import status_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Start


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Registration]:
    """A job whose run folder is there."""

    def make(config: str = "a/tiny") -> Registration:
        runs = tmp_path / "out" / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        folder = runs / f"x-{len(os.listdir(runs))}"
        folder.mkdir()
        return register(config=config, project="demo", overrides=["a=1"], run_folder=str(folder))

    return make


def run_of(job: Registration) -> str:
    return read_record(job.id).run


def cluster_run(folder: Path, **ending: object) -> str:
    """A run folder that nobody here has registered."""
    folder.mkdir(parents=True)
    (folder / FACTS).write_text(json.dumps({"config": "chat/full", "project": "demo", "overrides": ["b=2"]}))
    if ending:
        (folder / "ending.json").write_text(json.dumps(ending))
    return str(folder)


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (760, "12:40"), (10930, "3:02:10"), (183730, "2 days 3:02:10")]
)
def test_a_time_is_spoken(seconds: float, text: str) -> None:
    assert spoken_time(seconds) == text


def test_a_loss_is_short() -> None:
    assert [shown_loss(value) for value in (None, 2.31, 1e308)] == ["", "2.3100", "1e+308"]


def test_a_run_folder_names_its_job(made: Callable[..., Registration], monkeypatch: pytest.MonkeyPatch) -> None:
    job = made()
    assert job_of_run(run_of(job)).id == find_job(run_of(job)).id == job.id
    monkeypatch.chdir(os.path.dirname(run_of(job)))
    assert find_job(os.path.basename(run_of(job)), running=True).id == job.id
    job.ended(3)
    assert find_job(run_of(job)).state == "stopped"
    with pytest.raises(UsageError, match="it is not running"):
        find_job(run_of(job), running=True)


def test_a_job_that_was_forgotten_is_still_known_by_its_folder(made: Callable[..., Registration]) -> None:
    job = made()
    before = find_job(job.id)
    job.ended(137)
    remove_records([job.id])
    found = job_of_run(before.record.run)
    assert (found.id, found.how) == (job.id, "failed by SIGKILL")
    assert as_now(before).how == "failed by SIGKILL"
    other = made("b/tiny")
    assert other.id == job.id  # the number is free again
    assert job_of_run(before.record.run).record.config == "a/tiny"


def test_a_console_log_that_leads_out_of_the_run_folder_is_none(
    made: Callable[..., Registration], tmp_path: Path
) -> None:
    job = made()
    run = run_of(job)
    (tmp_path / "secret").write_text("secret")
    os.makedirs(os.path.join(run, "logs"), exist_ok=True)
    os.symlink(tmp_path / "secret", os.path.join(run, "logs", "link.out"))
    elsewhere = str(tmp_path / "slurm-8.out")
    change_record(job.id, console=elsewhere)
    assert job_of_run(run).record.console == elsewhere  # a record of our own may say so
    copy = os.path.join(run, "job.json")
    said = asdict(read_copy(run))
    remove_records([job.id])
    up = os.path.join(run, *[".."] * run.count("/"), str(tmp_path / "secret").lstrip("/"))
    for console in (elsewhere, "/etc/passwd", up, os.path.join(run, "logs", "link.out"), "", "a\0b"):
        with open(copy, "w") as file:
            json.dump({**said, "console": console}, file)
        assert job_of_run(run).record.console == "", console
    os.remove(copy)
    with open(os.path.join(run, "run.json"), "w") as file:
        json.dump({"config": "tiny", "project": "demo", "overrides": []}, file)
    assert job_of_run(run).record.console == ""


def test_a_job_without_a_record_and_without_a_folder_is_lost() -> None:
    job = register(config="tiny", project="demo", overrides=[], run_folder="/nowhere")
    before = find_job(job.id)
    remove_records([job.id])
    assert as_now(before).state == "lost"


def test_a_run_of_another_machine_is_reached_by_its_folder(made: Callable[..., Registration]) -> None:
    job = made()
    change_record(job.id, host="node7", process=identity(os.getpid()))
    found = find_job(run_of(job), running=True)
    assert (found.state, found.how) == ("elsewhere", "on node7")
    change_record(job.id, run="/not/mounted/here")
    with pytest.raises(UsageError, match="was started on node7"):
        find_job(job.id, running=True)


def test_a_folder_that_is_mounted_elsewhere_is_the_run(made: Callable[..., Registration], tmp_path: Path) -> None:
    job = made()
    change_record(job.id, host="node7", console=os.path.join(run_of(job), "logs", "console.log"))
    os.rename(run_of(job), tmp_path / "mounted")
    remove_records([job.id])
    found = job_of_run(str(tmp_path / "mounted"))
    assert (found.id, found.record.run, found.state) == (job.id, str(tmp_path / "mounted"), "elsewhere")
    assert found.record.console == str(tmp_path / "mounted" / "logs" / "console.log")


def test_a_run_that_is_over_is_where_its_folder_was_moved_to(made: Callable[..., Registration], tmp_path: Path) -> None:
    job = made()
    assert job_of_run(run_of(job)).record.run == run_of(job)
    job.ended(3)
    moved = str(tmp_path / "moved")
    os.rename(run_of(job), moved)
    found = job_of_run(moved)
    assert (found.id, found.record.run, found.state) == (job.id, moved, "stopped")
    assert as_now(found).record.run == moved


def test_a_run_of_a_cluster_is_known_by_its_folder(tmp_path: Path) -> None:
    folder = cluster_run(tmp_path / "x")
    found = find_job(folder, running=True)
    assert (found.id, found.config, found.state, found.how) == ("x", "chat/full", "elsewhere", "elsewhere")
    assert (found.record.overrides, found.record.console) == (("b=2",), "")
    (tmp_path / "x" / "logs").mkdir()
    for number in (7, 8):
        (tmp_path / "x" / "logs" / f"slurm-{number}.out").write_text("")
        os.utime(tmp_path / "x" / "logs" / f"slurm-{number}.out", (number, number))
    assert find_job(folder).record.console == os.path.join(folder, "logs", "slurm-8.out")
    write_progress(folder, RunProgress(4, 10))
    assert not job_of_run(folder).over
    write_progress(folder, RunProgress(10, 10))
    assert not job_of_run(folder).over  # it may be writing its last checkpoint
    (tmp_path / "x" / "ending.json").write_text('{"code": 0, "reason": ""}')
    done = as_now(found)
    assert (done.state, done.seconds is not None) == ("finished", True)


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (1, "failed"), (3, "stopped"), (130, "aborted")])
def test_a_run_of_a_cluster_says_how_it_ended(tmp_path: Path, code: int, state: str) -> None:
    assert job_of_run(cluster_run(tmp_path / "x", code=code, reason="")).state == state


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (1, "failed"), (3, "stopped"), (130, "aborted")])
def test_what_a_run_says_of_its_end_counts_where_nobody_was_left_to_write_it_down(
    made: Callable[..., Registration], code: int, state: str
) -> None:
    job = made()
    change_record(job.id, keeper=None)
    assert find_job(job.id).state == "lost"
    with open(os.path.join(run_of(job), "ending.json"), "w") as file:
        json.dump({"code": code, "reason": ""}, file)
    found = find_job(job.id)
    assert (found.state, found.over, found.seconds is not None) == (state, True, True)
    change_record(job.id, host="elsewhere")
    assert find_job(job.id).state == state


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": "a"}'])
def test_a_folder_that_is_no_run_has_no_job(tmp_path: Path, text: str) -> None:
    assert job_of_run(str(tmp_path)) is None
    (tmp_path / FACTS).write_text(text)
    assert job_of_run(str(tmp_path)) is None
    with pytest.raises(UsageError, match="there is no job"):
        find_job(str(tmp_path))


def test_only_the_first_node_of_a_run_leaves_its_record_there(made: Callable[..., Registration]) -> None:
    first = made()
    run = run_of(first)
    register(config="a/tiny", project="demo", overrides=[], run_folder=run)
    assert job_of_run(run).id == first.id


def test_a_real_job_is_the_one_of_its_folder(begin: Start) -> None:
    job = begin()
    found = job_of_run(job.record.run)
    assert isinstance(found, KnownJob)
    assert (found.id, found.running) == (job.id, True)


NESTED = "[" * 3000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (name, text)
        for name in ("job.json", "progress.json", "ending.json", "saved.json", "settings.json", "run.json", "door.json")
        for text in (
            NESTED,
            "[]",
            "[3]",
            '{"code": 1e999}',
            '[{"token": "t"}]',
            '{"step": "x", "code": [], "config": 3}',
            "null",
            "\0",
        )
    ],
)
def test_what_lies_in_a_strange_run_folder_harms_nobody(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "run.json").write_text('{"config": "tiny", "project": "demo", "overrides": ["a=1"]}')
    (tmp_path / name).write_text(text)
    job = job_of_run(str(tmp_path))
    if job is not None:
        assert job.sentence()
        assert status_lines(job)
    assert save_answer(str(tmp_path), "t") is set_answer(str(tmp_path), "t") is call(str(tmp_path)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"process": ["1", "x"]},
        {"process": [1, 2]},
        {"overrides": [3]},
        {"started": "2026-01-01T00:00:00"},
        {"code": "x"},
        {"config": None},
        {"cluster": 3},
    ],
)
def test_a_record_that_forge_has_not_written_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    id_ = register(config="tiny", project="demo", overrides=[], run_folder=str(tmp_path)).id
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert read_copy(str(tmp_path)) is None
    assert find_job(id_).running


def test_a_folder_that_is_called_like_a_job_is_that_folder(tmp_path: Path) -> None:
    id_ = register(config="tiny", project="demo", overrides=[], run_folder="/nowhere").id
    folder = tmp_path / id_
    folder.mkdir()
    (folder / "run.json").write_text('{"config": "other", "project": "demo", "overrides": []}')
    assert find_job(str(folder)).config == "other"
    assert find_job(id_).config == "tiny"


def test_a_link_in_a_strange_run_folder_is_not_followed(tmp_path: Path) -> None:
    """Who may write there could let a request of another user's replace that user's own files."""
    own = tmp_path / "own"
    run = tmp_path / "run"
    run.mkdir()
    for name, ask in (("STOP", ask_to_stop), ("ABORT", ask_to_abort), ("SAVE", ask_to_save), ("SET", set_it)):
        own.write_text("")
        (run / name).symlink_to(own)
        ask(str(run))
        assert own.read_text() == ""
        assert not (run / name).is_symlink()


def set_it(run: str) -> None:
    ask_to_set(run, {"lr_scale": 0.5})
