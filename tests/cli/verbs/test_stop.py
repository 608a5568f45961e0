from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from forge.control.known import find_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from conftest import Run

    Begin = Callable[..., Path]
    Until = Callable[[Callable[[], object]], None]


def test_without_a_job(run: Run) -> None:
    done = run("stop")
    assert (done.code, done.errors.splitlines()[0]) == (2, "error: no job is running")


def test_it_waits_for_the_end(run: Run, begin: Begin) -> None:
    begin()
    done = run("stop", "tiny-1")
    assert (done.code, done.errors) == (0, "tiny-1 is asked to stop: it takes its step to the end, and saves\n")
    assert done.out.startswith("tiny-1 stopped after 0:0")
    assert done.out.endswith(", step 5/300, loss 2.5000\n")
    done = run("stop", "tiny-1")
    assert done.code == 2
    assert "it is not running" in done.errors


def test_it_need_not_wait(run: Run, begin: Begin, until: Until) -> None:
    begin()
    assert run("stop", "--no-wait") == (0, "", "tiny-1 is asked to stop: it takes its step to the end, and saves\n")
    until(lambda: find_job("tiny-1").over)


def test_a_job_that_fails_in_place_of_stopping_is_a_failure(
    run: Run, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin()
    process = find_job().record.process
    monkeypatch.setattr("forge.control.jobs.ask_to_stop", lambda _: os.kill(process.pid, signal.SIGKILL))
    done = run("stop")
    assert done.code == 1
    assert done.out.startswith("tiny-1 failed by SIGKILL after")
