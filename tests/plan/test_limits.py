from __future__ import annotations

from math import inf, nan

import pytest

from forge.plan.limits import broken_limits


@pytest.mark.parametrize(
    ("settings", "broken"),
    [
        ({"per_device_train_batch_size": 1, "max_grad_norm": 0.5, "max_steps": -1, "save_steps": 1}, []),
        ({"max_grad_norm": None, "hang_seconds": None, "save_total_limit": None}, []),
        ({"gradient_accumulation_steps": "???", "seed": -3}, []),
        ({"eval_strategy": "no", "eval_steps": None}, []),
        ({"eval_strategy": "steps"}, []),  # it is not said here, and may be said elsewhere
        ({"save_total_limit": 0, "max_steps": 0}, ["save_total_limit", "max_steps"]),
        ({"max_steps": -2}, ["max_steps"]),
        ({"num_train_epochs": inf, "max_grad_norm": nan}, ["num_train_epochs", "max_grad_norm"]),
        ({"save_strategy": "steps", "save_steps": None}, ["save_steps"]),
    ],
)
def test_numbers_that_no_run_can_have_are_named(settings: dict[str, object], broken: list[str]) -> None:
    assert [name for name, _ in broken_limits(settings)] == broken


def test_what_may_be_left_out_is_said() -> None:
    found = dict(broken_limits({"hang_seconds": -5, "max_grad_value": 0, "num_train_epochs": 0}))
    assert found == {
        "hang_seconds": "hang_seconds is a number above 0, or null to wait for ever, not -5",
        "max_grad_value": "max_grad_value is a number above 0, or null for no clipping, not 0",
        "num_train_epochs": "num_train_epochs is a number above 0, not 0",
    }
