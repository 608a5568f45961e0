"""Schedules as functions of the step."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import RunError
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
    ("total", "steps", "ratio", "length"),
    [(100, 0, None, 0), (100, 7, None, 7), (100, 0, 0.03, 3), (50, 0, 1.0, 50), (100, 5, 0.1, 5), (3, 10, 0.03, 10)],
)
def test_a_warm_up_is_given_in_steps_or_as_a_share(total: int, steps: int, ratio: float | None, length: int) -> None:
    assert schedule.warmup_length(total, steps, ratio) == length


@pytest.mark.parametrize(
    ("total", "steps", "ratio", "message"),
    [
        (100, 0, 1.5, "between 0 and 1"),
        (100, -1, None, "warmup_steps is a number of steps, not -1"),
    ],
)
def test_a_warm_up_that_makes_no_sense_is_refused(total: int, steps: int, ratio: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.warmup_length(total, steps, ratio)


@pytest.mark.torch
@pytest.mark.parametrize(("warmup", "total", "climbs"), [(10, 3, True), (3, 3, True), (2, 3, False), (0, 3, False)])
@pytest.mark.parametrize("make", [schedule.constant, schedule.cosine, schedule.linear, schedule.wsd])
def test_a_warm_up_longer_than_the_run_is_seen(make: Any, warmup: int, total: int, *, climbs: bool) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    assert schedule.climbs_to_the_end(make(optimizer, total, warmup_steps=warmup), total) == climbs
    other = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    assert not schedule.climbs_to_the_end(other, total)


@pytest.mark.torch
@pytest.mark.parametrize("wrong", [{"min_lr_ratio": 2.0}, {"decay_ratio": -0.1}, {"shape": "steep"}])
def test_wsd_refuses_shares_and_shapes_that_do_not_exist(wrong: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=next(iter(wrong)) if "shape" not in wrong else "linear or 1-sqrt"):
        schedule.wsd(optimizer, 100, **wrong)


_TORCH: dict[str, Any] = {
    "OneCycleLR": lambda kinds, optimizer, total: kinds.OneCycleLR(optimizer, max_lr=1.0, total_steps=total),
    "CyclicLR": lambda kinds, optimizer, _: kinds.CyclicLR(optimizer, 0.1, 0.5, step_size_up=3),
    "ExponentialLR": lambda kinds, optimizer, _: kinds.ExponentialLR(optimizer, 0.9),
    "CosineAnnealingLR": lambda kinds, optimizer, total: kinds.CosineAnnealingLR(optimizer, total),
    "CosineAnnealingWarmRestarts": lambda kinds, optimizer, _: kinds.CosineAnnealingWarmRestarts(optimizer, 4),
    "SequentialLR": lambda kinds, optimizer, total: kinds.SequentialLR(
        optimizer, [kinds.LinearLR(optimizer, 0.1, total_iters=5), schedule.cosine(optimizer, total)], milestones=[5]
    ),
    "forge": lambda _, optimizer, total: schedule.wsd(optimizer, total, warmup_steps=3),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", _TORCH)
def test_a_schedule_of_any_kind_depends_on_nothing_but_the_steps_taken(name: str) -> None:
    torch = pytest.importorskip("torch")

    def made() -> Any:
        weights = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.3)]
        optimizer = torch.optim.SGD(weights, momentum=0.9)
        make = _TORCH[name]
        return schedule.made_schedule(lambda *given: make(torch.optim.lr_scheduler, *given), optimizer, 20)

    def options(found: Any) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in group.items() if key != "params"} for group in found.optimizer.param_groups
        ]

    whole, resumed = made(), made()
    schedule.advance(whole, 7)
    schedule.advance(resumed, 7)
    for _ in range(8):
        assert options(whole) == options(resumed)
        schedule.advance(whole)
        schedule.advance(resumed)
    assert whole.get_last_lr() != made().get_last_lr()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ReduceLROnPlateau", {"mode": "min"}, "ReduceLROnPlateau asks for metrics at each step"),
        ("OneCycleLR", {"max_lr": 1.0}, "the schedule cannot be made: .*max_lr"),
        ("Optimizer", {}, "the schedule cannot be made"),
    ],
)
def test_what_cannot_go_by_steps_is_refused_before_the_first(name: str, settings: dict[str, Any], message: str) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    kind = getattr(torch.optim.lr_scheduler, name)

    def make(*given: Any) -> Any:
        return kind(*given[: 1 if "mode" in settings else 2], **settings)

    with pytest.raises(RunError, match=message) as caught:
        schedule.made_schedule(make, optimizer, 10)
    assert "an optimizer and the number of steps" in str(caught.value.hint)


def test_what_is_no_schedule_is_refused() -> None:
    optimizer: Any = object()
    with pytest.raises(RunError, match="a list is no schedule"):
        schedule.made_schedule(lambda *_: [], optimizer, 10)  # type: ignore[arg-type, return-value]
