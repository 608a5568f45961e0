"""The layouts that could stand in for one."""

from __future__ import annotations

from typing import Any

from forge.plan.layout import Layout
from forge.plan.near import divisors, layouts_near, override_lines

PIPELINE: dict[str, Any] = {"pp": 2, "pp_schedule": "1f1b", "microbatches": 8}


def test_divisors() -> None:
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]


def test_lines_say_what_differs() -> None:
    after = Layout(tp=2, sequence_parallel=True)
    assert override_lines(after, Layout()) == "parallel.tp=2 parallel.sequence_parallel=true"
    assert override_lines(Layout(), Layout(**PIPELINE), "p") == "p.pp=1 p.pp_schedule=null p.microbatches=1"


def test_the_nearest_layout_is_itself() -> None:
    assert next(layouts_near(Layout(tp=2, dp_replicate=2), 4)) == Layout(tp=2, dp_replicate=2)
