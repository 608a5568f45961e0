"""Schedules as functions of the step."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.ml.optim import schedule

Run = tuple[int, int, float]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """The total steps of a run, its warm-up, and the share of the rate at its end."""
    total = draw(st.integers(2, 10_000))
    warmup = draw(st.integers(0, total - 1))
    return total, warmup, draw(st.floats(0.0, 1.0))


def _factors(run: Run) -> dict[str, Any]:
    total, warmup, low = run
    decay = max(1, (total - warmup) // 2)
    shared = {"total": total, "warmup": warmup, "min_lr_ratio": low}
    return {
        "constant": lambda step: schedule.constant_factor(step, warmup=warmup),
        "cosine": lambda step: schedule.cosine_factor(step, **shared),
        "linear": lambda step: schedule.linear_factor(step, **shared),
        "wsd 1-sqrt": lambda step: schedule.wsd_factor(step, **shared, decay=decay, shape="1-sqrt"),
        "wsd linear": lambda step: schedule.wsd_factor(step, **shared, decay=decay, shape="linear"),
    }


NAMES = ["constant", "cosine", "linear", "wsd 1-sqrt", "wsd linear"]


@pytest.mark.parametrize("name", NAMES)
@given(run=runs(), step=st.integers(0, 20_000))
def test_a_factor_lies_between_nothing_and_the_whole_rate(name: str, run: Run, step: int) -> None:
    assert 0.0 <= _factors(run)[name](step) <= 1.0 + 1e-12


@pytest.mark.parametrize("name", NAMES)
@given(run=runs())
def test_a_warm_up_climbs_from_above_zero_to_the_whole_rate(name: str, run: Run) -> None:
    factor, warmup = _factors(run)[name], run[1]
    assert factor(0) > 0
    assert factor(warmup) == pytest.approx(1.0)
    steps = range(0, warmup, max(1, warmup // 50))
    assert all(factor(step) < factor(step + 1) + 1e-12 for step in steps)


@pytest.mark.parametrize("name", NAMES)
@given(run=runs(), first=st.integers(0, 10_000), second=st.integers(0, 10_000))
def test_after_its_warm_up_a_factor_never_rises(name: str, run: Run, first: int, second: int) -> None:
    factor, warmup = _factors(run)[name], run[1]
    earlier, later = sorted((max(first, warmup), max(second, warmup)))
    assert factor(earlier) >= factor(later) - 1e-12


@pytest.mark.parametrize("name", NAMES[1:])
@given(run=runs(), beyond=st.integers(0, 1000))
def test_a_falling_factor_ends_at_its_lowest_and_stays_there(name: str, run: Run, beyond: int) -> None:
    assert _factors(run)[name](run[0] + beyond) == pytest.approx(run[2])


def test_cosine_is_half_way_at_half_the_run() -> None:
    assert schedule.cosine_factor(50, total=100, warmup=0, min_lr_ratio=0.0) == pytest.approx(0.5)
    assert schedule.cosine_factor(25, total=100, warmup=0, min_lr_ratio=0.0) == pytest.approx(
        (1 + math.cos(math.pi / 4)) / 2
    )


def test_wsd_is_stable_until_its_decay() -> None:
    shared = {"total": 100, "warmup": 10, "decay": 20, "min_lr_ratio": 0.0}
    assert {schedule.wsd_factor(step, **shared, shape="1-sqrt") for step in range(10, 81)} == {1.0}
    assert schedule.wsd_factor(85, **shared, shape="1-sqrt") == pytest.approx(0.5)
    assert schedule.wsd_factor(90, **shared, shape="linear") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("total", "steps", "ratio", "length"), [(100, 0, None, 0), (100, 7, None, 7), (100, 0, 0.03, 3), (50, 0, 1.0, 50)]
)
def test_a_warm_up_is_given_in_steps_or_as_a_share(total: int, steps: int, ratio: float | None, length: int) -> None:
    assert schedule.warmup_length(total, steps, ratio) == length


@pytest.mark.parametrize(
    ("total", "steps", "ratio", "message"),
    [
        (100, 5, 0.1, "leave one of them out"),
        (100, 0, 1.5, "between 0 and 1"),
        (100, 200, None, "does not fit into a run of 100"),
        (100, -1, None, "does not fit"),
    ],
)
def test_a_warm_up_that_makes_no_sense_is_refused(total: int, steps: int, ratio: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.warmup_length(total, steps, ratio)


@pytest.mark.torch
@pytest.mark.parametrize("wrong", [{"min_lr_ratio": 2.0}, {"decay_ratio": -0.1}, {"shape": "steep"}])
def test_wsd_refuses_shares_and_shapes_that_do_not_exist(wrong: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=next(iter(wrong)) if "shape" not in wrong else "linear or 1-sqrt"):
        schedule.wsd(optimizer, 100, **wrong)
