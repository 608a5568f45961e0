from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from forge.control.processes import identity
from forge.control.progress import RunProgress, progress_of
from forge.control.record import change_record
from forge.report.figures import LoggedFigures
from forge.report.folders import named_run
from forge.report.watch import event_text, remaining, short_line, view

if TYPE_CHECKING:
    from conftest import Past, Steps

    from forge.control.known import KnownJob


def running(job: KnownJob) -> KnownJob:
    change_record(job.id, process=identity(os.getpid()), ended="", code=None)
    return named_run(job.record.run, [])


def shown(job: KnownJob, *, width: int = 100, height: int = 30, dots: bool = True) -> list[str]:
    return view(job, LoggedFigures(job.record.run), width=width, height=height, dots=dots)


def test_a_run_that_goes_on(past: Past, steps: Steps) -> None:
    lines = [
        *steps(9),
        {"step": 5, "dataset": "held_out", "eval_loss": 2.5},
        {"event": "set", "step": 6, "changed": {"lr_scale": [1.0, 0.5]}},
    ]
    found = shown(running(past(lines=lines, code=None)))
    assert found[0].startswith("tiny-1  tiny  running  0:0")
    assert found[0].endswith("step 9/20 (45 %)")
    assert found[1].startswith("loss 2.4066 (least 2.4066 at 9)  held_out 2.5000 at 5  lr 1.00e-03  gradients 0.111")
    assert found[2] == "1,009 tokens/s (mean 1,006)  backward 60 % forward 30 % data 10 %  0:11 left"
    assert found[3].startswith("1 process, ")
    assert found[-1] == "step 6: set lr_scale 1.0 -> 0.5"
    assert "loss" in found
    assert len(found) <= 30
    assert any("⣿" >= letter > "⠀" for letter in "".join(found))


def test_a_run_of_the_past_has_nothing_left_to_do(past: Past) -> None:
    text = "\n".join(shown(past(), dots=False))
    assert "finished" in text
    assert "left" not in text
    assert "process" not in text
    assert text.isascii() is False or "|" in text


def test_a_run_that_has_logged_nothing(past: Past) -> None:
    assert shown(past(lines=[], code=None))[-1] == "no step has been logged yet"


@pytest.mark.parametrize("width", [20, 60, 200])
@pytest.mark.parametrize("height", [5, 24, 60])
def test_it_fits_the_terminal(past: Past, width: int, height: int) -> None:
    found = shown(past(), width=width, height=height)
    assert max(map(len, found)) <= width
    assert len(found) <= max(height, 12)


def test_one_line_for_a_log(past: Past, steps: Steps) -> None:
    job = past()
    assert short_line(job, LoggedFigures(job.record.run)) == "tiny-1 finished  step 20/20  loss 2.1353  1,000 tokens/s"
    live = running(past(lines=steps(10), code=None))
    assert short_line(live, LoggedFigures(live.record.run)).endswith("0:10 left")


def test_what_is_left_is_not_always_known(past: Past) -> None:
    job = past(lines=[])
    figures = LoggedFigures(job.record.run)
    assert remaining(figures, progress_of(job.record.run)) is None
    full = LoggedFigures(past().record.run)
    assert remaining(full, RunProgress()) is None
    assert remaining(full, RunProgress(5, 10)) == 5.0


def test_a_run_that_takes_no_step_is_told(past: Past) -> None:
    job = past(code=None)
    os.utime(os.path.join(job.record.run, "progress.json"), (1, 1))
    assert "(no step for " in shown(replace(job, state="running"))[0]


def test_events_are_lines() -> None:
    assert (
        event_text({"event": "resumed", "step": 4, "checkpoint": "/c/checkpoint-4"})
        == "step 4: resumed from /c/checkpoint-4"
    )
    assert event_text({"event": "skipped", "step": 4, "reason": "nan", "more": [1]}) == "step 4: skipped reason nan"
