from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    After = Callable[[str, Callable[[], None]], None]
    Begin = Callable[..., Path]
    Past = Callable[..., str]


def test_without_a_job(run: Run) -> None:
    done = run("logs")
    assert (done.code, done.errors.splitlines()[0]) == (2, "error: no job is running")


def test_the_log(run: Run, begin: Begin, past: Past, after: After, project: Path) -> None:
    folder = begin()
    (folder / "logs" / "console.log").write_text("one\ntwo\nthree\n")
    assert run("logs") == (0, "one\ntwo\nthree\n", "")
    assert run("logs", "tiny-1", "-n", "1").out == "three\n"
    assert run("logs", "-n", "0").out == ""
    assert run("logs", "-n", "-1").code == 2
    after("forge.control.follow.last_lines", (folder / "GO").touch)
    done = run("logs", "-f", "-n", "1")
    assert (done.code, done.out) == (0, "three\nbye\n")
    assert done.errors.startswith("tiny-1 finished after 0:0")
    done = run("logs", past())
    assert done.code == 2
    assert "it runs on a terminal" in done.errors
    (project / "run-0" / "logs" / "console.log").unlink()
    assert "no console log any more" in run("logs", "tiny-1").errors
