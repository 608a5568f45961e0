"""What may be asked of a job, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError, UsageError
from forge.control.door import DOOR_FILE
from forge.control.jobs import abort, cleanup, save_now, set_now, stop, tell, wait_for_end, was_told
from forge.control.known import find_job, known_jobs, spoken_time
from forge.control.processes import family, identity, is_alive
from forge.control.progress import RunProgress, write_progress
from forge.control.record import add_record, change_record, moment, read_record, remove_records
from forge.control.register import register
from forge.control.requests import SaveAnswer, write_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Start

    from forge.control.known import KnownJob

    Until = Callable[..., None]

# Answers a request to save a tenth of a second after it was seen, as a trainer does that writes in the background.
SAVES = """
import os, sys, time
from forge.control.requests import SaveAnswer, write_answers
run = sys.argv[1]
asked, answers = os.path.join(run, "SAVE"), []
for step in range(3000):
    if os.path.exists(asked):
        os.replace(asked, asked + ".taken")
        token = open(asked + ".taken").read()
        time.sleep(0.01)
        answers.append(SaveAnswer(token, step, f"{run}/checkpoint-{step}", "no room" if "full" in sys.argv else ""))
        write_answers(run, answers)
    if os.path.exists(os.path.join(run, "STOP")):
        sys.exit(3)
    time.sleep(0.005)
"""

OPENS = f"""
import sys
from forge.control.door import Door
Door(sys.argv[1]).open()
{SAVES}
"""

SETS = """
import os, sys, time
from forge.control.settings import SetAnswer, requests_in, write_set_answers
run, before = sys.argv[1], 1.0
asked, answers = os.path.join(run, "SET"), []
for step in range(3000):
    if os.path.exists(asked):
        os.replace(asked, asked + ".taken")
        for token, values in requests_in(open(asked + ".taken", "rb").read()):
            scale = values["lr_scale"]
            refused = "not today" if scale == 13 else ""
            answers.append(SetAnswer(token, step, {} if refused else {"lr_scale": (before, scale)}, refused))
        write_set_answers(run, answers)
    if os.path.exists(os.path.join(run, "STOP")):
        sys.exit(3)
    time.sleep(0.005)
"""


def steps_of(job: KnownJob) -> bool:
    """Whether the job has taken a step, and so has started all that it starts."""
    return (Path(job.record.run) / "progress.json").is_file()


def ended(config: str = "tiny", code: int | None = 0) -> str:
    """A job of the past; its id."""
    job = register(config=config, project="demo", overrides=[], run_folder="/nowhere")
    job.begun(os.getpid())
    job.ended(code)
    return job.id


def test_a_job_runs_and_finishes(begin: Start) -> None:
    job = begin("short", "0")
    assert job.id == "tiny-1"
    done = wait_for_end(job)
    assert (done.state, done.record.code, done.over, done.running) == ("finished", 0, True, False)
    assert done.seconds is not None
    assert done.sentence() == f"tiny-1 finished after {spoken_time(done.seconds)}, step 3/3000, loss 0.3333"
    assert Path(done.record.console).read_text() == "step 1 é\nstep 2 é\nstep 3 é\n"
    assert read_record("tiny-1").keeper is None


@pytest.mark.parametrize(
    ("code", "state", "how"),
    [
        (0, "finished", "finished"),
        (1, "failed", "failed with exit code 1"),
        (2, "failed", "failed with exit code 2"),
        (3, "stopped", "stopped"),
        (130, "aborted", "aborted"),
        (137, "failed", "failed by SIGKILL"),
        (200, "failed", "failed by signal 72"),
        (None, "lost", "lost"),
    ],
)
def test_the_exit_code_says_how_a_job_ended(code: int | None, state: str, how: str) -> None:
    job = find_job(ended(code=code))
    assert (job.state, job.how) == (state, how)
    assert job.over


def test_a_job_that_was_aborted_says_so_unless_it_had_finished() -> None:
    for code, state in ((143, "aborted"), (137, "aborted"), (1, "aborted"), (0, "finished")):
        id_ = ended(code=code)
        change_record(id_, asked="abort")
        assert find_job(id_).state == state


def test_stop_ends_it_after_its_step(begin: Start, until: Until) -> None:
    job = begin()
    until(lambda: steps_of(job))
    assert find_job().running
    stop(job)
    assert wait_for_end(job).state == "stopped"
    with pytest.raises(UsageError, match=r"tiny-1 stopped after .*: it is not running"):
        find_job("tiny-1", running=True)


@pytest.mark.parametrize("how", [[], ["deaf", "children"]], ids=["willing", "deaf"])
def test_abort_leaves_no_process(begin: Start, until: Until, how: list[str]) -> None:
    job = begin(*how)
    until(lambda: steps_of(job))
    assert job.record.process is not None
    members = family([job.record.process])
    assert len(members) == (3 if how else 1)
    began = time.monotonic()
    done = abort(job, grace=0.3)
    assert time.monotonic() - began < 5
    assert (done.state, done.record.asked) == ("aborted", "abort")
    assert done.record.code in ({137} if how else {143})
    assert not any(map(is_alive, members))
    assert family([job.record.process]) == set()


def test_abort_ends_a_run_of_another_terminal_and_not_the_terminal(until: Until, tmp_path: Path) -> None:
    """A run in the foreground is in the group of the shell that waits for it."""
    program = f"""
import sys
from forge.control.register import register
from forge.launch.process import run_command
job = register(config="tiny", project="demo", overrides=[], run_folder={str(tmp_path)!r})
nap = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"]
code = run_command(nap, begun=job.begun)
job.ended(code)
print(code)
"""
    shell = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: [job for job in known_jobs() if job.record.process and len(family([job.record.process])) == 2])
    job = find_job()
    members = family([job.record.process])
    assert abort(job).state == "aborted"
    assert shell.communicate(timeout=10)[0] == "143\n"
    assert not any(map(is_alive, members))


def test_abort_works_where_nothing_can_be_written(begin: Start, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    job = begin()
    until(lambda: steps_of(job))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    done = abort(job)
    monkeypatch.undo()
    assert not is_alive(job.record.process)
    assert done.record.code == 143


def test_what_does_not_end_is_named(begin: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    job = begin()
    monkeypatch.setattr("forge.control.jobs.end_family", lambda root, _grace: {root})
    with pytest.raises(ToolError, match=f"tiny-1 does not end, even by KILL: process {job.record.process.pid}"):
        abort(job)


def test_a_job_that_is_killed_has_failed(begin: Start, until: Until) -> None:
    job = begin()
    until(lambda: steps_of(job))
    os.kill(job.record.process.pid, signal.SIGKILL)
    done = wait_for_end(job)
    assert (done.state, done.how, done.record.code) == ("failed", "failed by SIGKILL", 137)


def test_a_job_whose_supervisor_died_runs_on_and_is_lost_at_its_end(begin: Start, until: Until) -> None:
    job = begin()
    until(lambda: steps_of(job))
    keeper = job.record.keeper
    os.kill(keeper.pid, signal.SIGKILL)
    until(lambda: not is_alive(keeper))
    assert find_job("tiny-1").running
    stop(job)
    done = wait_for_end(job)
    assert (done.state, done.seconds) == ("lost", None)
    assert done.sentence().startswith("tiny-1 lost, step ")
    assert cleanup() == [done]


def test_abort_writes_down_what_no_supervisor_can(begin: Start, until: Until) -> None:
    job = begin()
    until(lambda: steps_of(job))
    os.kill(job.record.keeper.pid, signal.SIGKILL)
    until(lambda: not is_alive(job.record.keeper))
    done = abort(find_job())
    assert done.state == "aborted"
    assert done.seconds is not None


def test_a_number_that_another_process_has_now_is_not_the_job() -> None:
    id_ = ended()
    own = identity(os.getpid())
    change_record(id_, ended="", code=None, process=own._replace(start="long ago"), keeper=None)
    assert find_job(id_).state == "lost"
    change_record(id_, process=own)
    assert find_job(id_).state == "running"


def test_a_job_of_another_machine_is_told_apart() -> None:
    id_ = ended()
    change_record(id_, ended="", host="node7", process=identity(os.getpid()))
    job = find_job(id_)
    assert (job.state, job.how, job.over, job.running) == ("elsewhere", "on node7", False, False)
    with pytest.raises(UsageError, match="was started on node7"):
        find_job(id_, running=True)
    with pytest.raises(UsageError, match="only a job that has ended"):
        cleanup([id_])
    assert cleanup() == []
    change_record(id_, ended=moment())
    assert find_job(id_).state == "finished"


def test_an_end_that_is_written_while_we_look_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = ended(code=3)
    record = read_record(id_)
    change_record(id_, ended="", code=None, process=None)

    def gone(_: object) -> bool:
        change_record(id_, ended=record.ended, code=3)
        return False

    monkeypatch.setattr("forge.control.known.is_alive", gone)
    assert find_job(id_).state == "stopped"


def test_without_a_name_the_only_running_job_is_meant(begin: Start) -> None:
    with pytest.raises(UsageError, match="no job is running"):
        find_job()
    ended()
    first = begin()
    assert find_job().id == first.id == "tiny-2"
    begin()
    with pytest.raises(UsageError, match=r"2 jobs are running\n.*tiny-2, tiny-3"):
        find_job()
    assert find_job("tiny-1").state == "finished"
    with pytest.raises(UsageError, match=r"there is no job 'tini-1'\n.*tiny-1"):
        find_job("tini-1")
    with pytest.raises(UsageError, match="`forge jobs --all`"):
        find_job("z")


def test_cleanup_forgets_what_has_ended_and_nothing_else(begin: Start) -> None:
    assert cleanup() == []
    running = begin()
    for _ in range(3):
        ended()
    assert [job.id for job in cleanup(["tiny-3"])] == ["tiny-3"]
    assert [job.id for job in cleanup()] == ["tiny-2", "tiny-4"]
    assert [job.id for job in known_jobs()] == [running.id]
    with pytest.raises(UsageError):
        cleanup([running.id])


def test_a_job_that_is_forgotten_while_one_waits_has_ended() -> None:
    id_ = ended()
    job = find_job(id_)
    remove_records([id_])
    assert wait_for_end(replace(job, state="running")).state == "lost"
    assert ended() == id_
    change_record(id_, ended="", process=identity(os.getpid()))  # another job under the same id
    assert wait_for_end(replace(job, state="running")).state == "lost"


def test_fifty_saves_in_a_row_are_answered_each_by_its_own_checkpoint(begin: Start) -> None:
    job = begin(program=SAVES)
    answers = [save_now(job) for _ in range(50)]
    assert [answer.step for answer in answers] == sorted({answer.step for answer in answers})
    assert len(json.loads((Path(job.record.run) / "saved.json").read_text())) == 50


def test_everybody_who_asks_at_once_is_answered(begin: Start) -> None:
    job = begin(program=SAVES)
    answers: list[SaveAnswer] = []
    askers = [threading.Thread(target=lambda: answers.extend(save_now(job) for _ in range(5))) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(answers) == 20


def test_a_save_that_comes_to_nothing_says_why(begin: Start) -> None:
    job = begin("full", program=SAVES)
    with pytest.raises(ToolError, match="tiny-1 saved nothing: no room"):
        save_now(job)


def test_a_job_that_ends_before_it_saves_does_not_hang_who_asks(begin: Start) -> None:
    job = begin("short", "0")
    with pytest.raises(ToolError, match=r"tiny-1 finished after .* before it saw the request"):
        save_now(job)
    write_answers(job.record.run, [SaveAnswer((Path(job.record.run) / "SAVE").read_text(), 7, "/c")])
    assert save_now(job).step == 7  # the last thing that it did


def test_a_job_that_is_only_starting_cannot_be_aborted() -> None:
    id_ = register(config="tiny", project="demo", overrides=[], run_folder="/nowhere").id
    assert find_job(id_).running
    with pytest.raises(UsageError, match="only starting"):
        abort(find_job(id_))


def test_who_was_told_is_not_told_again(tmp_path: Path) -> None:
    id_ = ended()
    change_record(id_, run=str(tmp_path))
    job = find_job(id_)
    assert not was_told(job)
    assert tell(job) == job.sentence()
    assert was_told(job)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.9, "0:07"), (760, "12:40"), (10930, "3:02:10"), (86400, "1 day 0:00:00"), (183730, "2 days 3:02:10")],
)
def test_times_are_spoken(seconds: float, text: str) -> None:
    assert spoken_time(seconds) == text


def test_a_list_of_many_jobs_is_cheap_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completion asks at each key: a record that has not changed is not read again."""
    record = read_record(ended())
    for _ in range(50):
        add_record(record)
    assert len(known_jobs()) == 51

    def read_again(*_: object) -> bytes:
        raise AssertionError

    monkeypatch.setattr("forge.control.record.read_json", read_again)
    assert len(known_jobs()) == 51


def test_a_job_goes_by_what_it_is_told(begin: Start) -> None:
    job = begin(program=SETS)
    answer = set_now(job, {"lr_scale": 0.5})
    assert answer.changed == {"lr_scale": (1.0, 0.5)}
    with pytest.raises(UsageError, match="tiny-1 changes nothing: not today"):
        set_now(job, {"lr_scale": 13})
    stop(job)
    assert wait_for_end(job).state == "stopped"
    with pytest.raises(ToolError, match=r"it ended before it saw the request\n  nothing was set"):
        set_now(job, {"lr_scale": 2})


def test_a_process_that_only_a_run_folder_names_is_not_ended(
    begin: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begin()
    until(lambda: steps_of(job))
    remove_records([job.id])
    found = find_job(job.record.run)
    assert found.running
    monkeypatch.setattr("forge.control.jobs._FAR", 0.3)
    with pytest.raises(ToolError, match="was asked to end at once, and nothing has been heard of its end"):
        abort(found)  # this one does not look for ABORT
    assert is_alive(job.record.process)
    other = ended()
    assert other == job.id  # the number is free again: another job is meant by it
    stop(found)
    until(lambda: not is_alive(job.record.process) and find_job(job.record.run).over)
    with pytest.raises(UsageError, match="nothing to forget of it"):
        cleanup([job.record.run])
    assert read_record(other) is not None


def test_what_runs_elsewhere_is_asked_to_end_itself(tmp_path: Path, until: Until) -> None:
    id_ = ended()
    change_record(id_, ended="", run=str(tmp_path), host="node7", process=identity(os.getpid()))

    def end_there() -> None:
        until((tmp_path / "ABORT").exists)
        change_record(id_, ended=moment(), code=130)

    there = threading.Thread(target=end_there)
    there.start()
    assert abort(find_job(id_)).state == "aborted"
    there.join()


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="no door where the system names no peer")
def test_on_its_machine_a_job_is_asked_at_its_door(begin: Start, until: Until) -> None:
    job = begin(program=OPENS)
    until((Path(job.record.run) / DOOR_FILE).exists)
    answers = [save_now(job) for _ in range(5)]
    assert [answer.step for answer in answers] == sorted({answer.step for answer in answers})
    job = find_job(job.id)
    os.kill(job.record.process.pid, signal.SIGSTOP)  # whoever sits behind the door may fall silent
    asked = threading.Thread(target=save_now, args=(job,))
    asked.start()
    until((Path(job.record.run) / "SAVE").exists)
    os.kill(job.record.process.pid, signal.SIGCONT)
    asked.join(30)
    assert not asked.is_alive()


def test_nobody_waits_for_ever_for_a_run_that_only_its_folder_tells_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.control.jobs._SILENT", 0.2)
    facts = {"config": "tiny", "project": "demo", "overrides": [], "project_folder": "", "main": None}
    (tmp_path / "run.json").write_text(json.dumps({**facts, "source_folders": [], "rules": []}))
    job = find_job(str(tmp_path))
    assert job.state == "elsewhere"
    stop(job)
    with pytest.raises(ToolError, match=r"has not answered for 0:00: there is no sign of life of it\n.*squeue"):
        wait_for_end(job)
    with pytest.raises(ToolError, match="has not answered"):
        save_now(job)
    write_progress(str(tmp_path), RunProgress(1, 3))
    with pytest.raises(ToolError, match=r"its last sign of life is 0:00 old"):
        wait_for_end(job)
