from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from forge.control.jobs import tell
from forge.control.known import find_job
from forge.control.register import Registration, register
from forge.shell.announce import Announcer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def announcer(said: list[str]) -> Iterator[Announcer]:
    made = Announcer(said.append, seconds=0.01)
    made.hold()
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "forge-announce"]


@pytest.fixture
def begun(tmp_path: Path) -> Callable[..., Registration]:
    """Enters a job that this process has started."""
    numbers = iter(range(100))

    def begin(console: str = "log") -> Registration:
        folder = str(tmp_path / f"run-{next(numbers)}")
        job = register(config="tiny", project="demo", overrides=[], run_folder=folder, console=console)
        job.begun(os.getpid())
        return job

    return begin


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_job_that_ends_is_announced_once(
    announcer: Announcer, said: list[str], begun: Callable[..., Registration]
) -> None:
    first, second = begun(), begun()
    announcer.look()
    first.ended(0)
    until(lambda: said)
    assert said == ["tiny-1 finished after 0:00"]
    second.ended(1)
    until(lambda: len(said) == 2)
    assert said[1] == "tiny-2 failed with exit code 1 after 0:00: `logs tiny-2` shows why"
    announcer.hold()
    announcer.look()
    begun().ended(3)
    announcer.hold()
    announcer.look()
    until(lambda: len(said) == 3)
    assert said[2] == "tiny-3 stopped after 0:00"


def test_nothing_is_said_while_a_line_runs(
    announcer: Announcer, said: list[str], begun: Callable[..., Registration]
) -> None:
    job, other = begun(), begun()
    announcer.look()
    announcer.hold()
    job.ended(0)
    other.ended(3)
    tell(find_job("tiny-2"))  # the line was `stop`, which has told it
    time.sleep(0.05)
    assert said == []
    announcer.look()
    until(lambda: said)
    announcer.hold()
    assert said == ["tiny-1 finished after 0:00"]


def test_only_jobs_of_this_shell_in_the_background_are_announced(
    announcer: Announcer, said: list[str], begun: Callable[..., Registration], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(console="").ended(0)  # it ran in the foreground, where everybody could see it end
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "getpid", os.getppid)
        begun().ended(0)
    mine = begun()
    announcer.look()
    mine.ended(0)
    until(lambda: said)
    assert said == ["tiny-3 finished after 0:00"]


def test_a_shell_without_jobs_has_no_thread_and_one_whose_jobs_have_ended_sleeps(
    announcer: Announcer, said: list[str], begun: Callable[..., Registration], monkeypatch: pytest.MonkeyPatch
) -> None:
    announcer.look()
    announcer.hold()
    assert announcer._thread is None
    begun().ended(0)
    announcer.look()
    until(lambda: said)
    announcer.hold()
    monkeypatch.setattr("forge.shell.announce.known_jobs", lambda: pytest.fail("it looks though nothing runs"))
    announcer._free.release()
    time.sleep(0.05)
    assert announcer._thread is not None
    assert announcer._thread.is_alive()
    announcer._free.acquire()


def test_it_ends_with_the_shell_at_once(said: list[str], begun: Callable[..., Registration]) -> None:
    job = begun()
    announcer = Announcer(said.append)
    announcer.hold()
    announcer.look()
    announcer.hold()
    began = time.monotonic()
    announcer.close()
    assert time.monotonic() - began < 1
    job.ended(0)
    assert said == []
    Announcer(said.append).close()
