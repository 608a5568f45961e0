"""Real trainings in the background that are saved, stopped, killed and aborted from outside, through their job alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, os.path.dirname(__file__))

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

from small_run import make_project  # noqa: E402 - torch may be missing

import forge  # noqa: E402 - as above
from forge.control.jobs import abort, save_now, stop, wait_for_end  # noqa: E402 - as above
from forge.control.known import find_job  # noqa: E402 - as above
from forge.control.processes import end_family, family, is_alive  # noqa: E402 - as above
from forge.control.record import job_records  # noqa: E402 - as above
from forge.ml.checkpoint.store import Store  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.control.known import KnownJob

    Start = Callable[..., KnownJob]

LONG = (
    "trainer.max_steps=1000000",
    "trainer.eval_strategy=no",
    "trainer.save_steps=1000000",
    "trainer.save_total_limit=3",
)
FULL = bool(os.environ.get("FORGE_FULL"))
KILLS, SAVES = (20, 50) if FULL else (1, 10)
FORKED, STATUSES = (100, 500) if FULL else (3, 50)
SLOWEST = 0.05 if FULL else 5.0  # seconds; a machine may have much else to do


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("small"))


@pytest.fixture
def begin(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Trains in the background, with the output in ``out``."""
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def start(*overrides: str) -> KnownJob:
        config = forge.open(project).config("run", *LONG, f"trainer.output_dir={tmp_path}/out", *overrides)
        return find_job(config.plan_run("cpu").start_detached().id)

    yield start
    for record in job_records():
        for who in (record.process, record.keeper):
            if who is not None and who.pid != os.getpid():
                end_family(who, 0)


def log(job: KnownJob) -> str:
    return Path(job.record.console).read_text()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def whole(tmp_path: Path) -> list[int]:
    """The steps of the checkpoints of which every byte is right."""
    return [one.step for one in Store(tmp_path / "out" / "checkpoints").list(quick=False) if one.valid]


def test_what_was_answered_is_there_after_a_kill(begin: Start, tmp_path: Path) -> None:
    for number in range(KILLS):
        job = begin(f"trainer.resume_from_checkpoint={'auto' if number else 'null'}")
        answers = [save_now(job) for _ in range(SAVES if number == 0 else 1)]
        os.kill(job.record.process.pid, signal.SIGKILL)
        assert wait_for_end(job).how == "failed by SIGKILL"
        steps = [answer.step for answer in answers]
        assert steps == sorted(set(steps)), log(job)  # each asked for a new one, and got it
        assert whole(tmp_path)[-1] >= steps[-1]
        assert steps[-1] in whole(tmp_path)


def test_forks_that_are_killed_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as soon as they have answered, all go on; and who is in a collective says how it is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    script = Path(__file__).parent / "steered_forks.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "forks"), str(FORKED), str(STATUSES)],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    answered, began = zip(*found["kills"], strict=True)
    assert len(answered) == FORKED
    assert list(began) == [None, *answered[:-1]]
    assert found["codes"] == [2, 2]  # the sum of two ones: it was a collective, and it came to its end
    for way in ("door", "files"):
        assert found[way][int(0.99 * STATUSES)] < SLOWEST


def test_save_and_stop_at_once_and_abort(begin: Start, tmp_path: Path) -> None:
    job = begin()
    until(lambda: "step " in log(job))
    answers = []
    asker = threading.Thread(target=lambda: answers.append(save_now(job)))
    asker.start()
    until(lambda: os.path.exists(os.path.join(job.record.run, "SAVE")) or answers)  # it may be taken at once
    stop(job)
    done = wait_for_end(job)
    asker.join()
    assert (done.state, done.record.code) == ("stopped", 3), log(job)
    assert answers[0].step in whole(tmp_path)

    job = begin("trainer.resume_from_checkpoint=auto")
    until(lambda: "step " in log(job))
    before = whole(tmp_path)
    members = family([job.record.process])
    began = time.monotonic()
    done = abort(job)
    assert time.monotonic() - began < 10
    assert (done.state, done.record.code) == ("aborted", 130), log(job)
    assert "nothing was saved" in log(job)
    assert whole(tmp_path) == before
    assert not any(map(is_alive, members))


def test_abort_while_a_run_is_set_up(begin: Start) -> None:
    job = begin()  # torch is being imported now
    began = time.monotonic()
    assert abort(job).state == "aborted"
    assert time.monotonic() - began < 10
    assert family([job.record.process]) == set()
