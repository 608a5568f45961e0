from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Begin = Callable[..., Path]


def test_without_a_job(run: Run) -> None:
    done = run("abort")
    assert (done.code, done.errors.splitlines()[0]) == (2, "error: no job is running")


def test_it_ends_the_job(run: Run, begin: Begin) -> None:
    begin()
    assert run("abort").out.startswith("tiny-1 aborted after 0:0")
    assert "it is not running" in run("abort", "tiny-1").errors
