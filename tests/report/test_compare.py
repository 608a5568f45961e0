from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import RunError
from forge.report.compare import changes_between, frozen_graph, run_summary, shown_number, summary_rows

if TYPE_CHECKING:
    from conftest import Past, Steps


def test_runs_stand_side_by_side(past: Past, steps: Steps) -> None:
    evaluation = {"step": 20, "dataset": "held_out", "eval_loss": 2.25}
    one, two = run_summary(past()), run_summary(past("mode=slow", code=1, lines=[*steps(5, lr=2e-3), evaluation]))
    rows = {row[0]: row[1:] for row in summary_rows([one, two])}
    assert rows[""] == [one.name, two.name]
    assert rows["state"] == ["finished", "failed with exit code 1"]
    assert rows["step"] == ["20/20", "5/20"]
    assert rows["loss"] == ["2.1353", "2.6065"]
    assert rows["eval held_out"] == ["", "2.2500"]
    assert rows["highest lr"] == ["0.001", "0.002"]
    assert rows["tokens"] == ["2,000", "500"]
    assert rows["memory"] == ["20.0 MB", "5.0 MB"]
    assert two.data()["eval_loss"] == {"held_out": 2.25}
    assert (two.data()["state"], two.data()["overrides"]) == ("failed", ["mode=slow"])


def test_a_run_without_figures_has_fewer_rows(past: Past) -> None:
    names = [row[0] for row in summary_rows([run_summary(past(lines=[]))])]
    assert "loss" not in names
    assert "state" in names


def test_what_the_configs_differ_in(past: Past) -> None:
    one, two, three = past(), past("trainer.max_steps=7"), past()
    (change,) = changes_between(one, two)
    assert change.path == ("trainer", "max_steps")
    assert changes_between(one, three) == ()


def test_a_damaged_graph_is_told(past: Past) -> None:
    job = past()
    Path(job.record.run, "graph.json").write_text("[")
    with pytest.raises(RunError, match=r"graph\.json is no frozen graph"):
        frozen_graph(job)
    assert run_summary(job).name == os.path.basename(job.record.run)


def test_a_count_is_short() -> None:
    assert [shown_number(value) for value in (None, 1_310_720, 1e299)] == ["", "1,310,720", "1e+299"]
