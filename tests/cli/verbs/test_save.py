from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Begin = Callable[..., Path]


def test_without_a_job(run: Run) -> None:
    done = run("save")
    assert (done.code, done.errors.splitlines()[0]) == (2, "error: no job is running")


def test_it_answers_with_the_checkpoint(run: Run, begin: Begin) -> None:
    begin()
    assert run("save") == (0, "tiny-1 saved step 7: run-0/checkpoint-7\n", "")


def test_a_job_that_cannot_save_is_a_failure(run: Run, begin: Begin) -> None:
    folder = begin()
    (folder / "GO").touch()
    done = run("save")
    assert done.code in {1, 2}  # it had ended before, or ended meanwhile
    assert "tiny-1 finished after" in done.errors or (done.code == 2 and "no job is running" in done.errors)
