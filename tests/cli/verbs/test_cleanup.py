from __future__ import annotations

from typing import TYPE_CHECKING

from forge.control.known import known_jobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Begin = Callable[..., Path]
    Past = Callable[..., str]


def test_it_forgets_what_has_ended(run: Run, begin: Begin, past: Past, project: Path) -> None:
    assert run("cleanup") == (0, "", "no job has ended, so there is nothing to forget\n")
    begin()
    for _ in range(3):
        past()
    assert run("cleanup", "tiny-2", "tiny-3").out == "forgot tiny-2, tiny-3; the run folders stay\n"
    done = run("cleanup", "tiny-1")
    assert (done.code, done.out) == (2, "")
    assert "tiny-1 is running: only a job that has ended can be forgotten" in done.errors
    assert run("cleanup").out == "forgot tiny-4; the run folders stay\n"
    assert [job.id for job in known_jobs()] == ["tiny-1"]
    assert (project / "run-0").is_dir()
