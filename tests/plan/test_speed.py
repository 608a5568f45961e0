from __future__ import annotations

from typing import TYPE_CHECKING

from forge.plan.layout import Layout
from forge.plan.speed import Hardware, step_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup

MODEL = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14_336}


def seconds(setup: TrainingSetup, **changes: float) -> float:
    return step_seconds(setup, Hardware(**changes))  # type: ignore[arg-type]


def test_what_is_computed_again_takes_time(setup_for: Callable[..., TrainingSetup]) -> None:
    plain, chosen, full = (seconds(setup_for(model=MODEL, checkpointing=how)) for how in (False, "selective", True))
    assert plain < chosen < full


def test_waiting_takes_time(setup_for: Callable[..., TrainingSetup]) -> None:
    few, many = (
        seconds(setup_for(Layout(pp=4, pp_schedule="1f1b", microbatches=count), MODEL, batch_size=64))
        for count in (4, 32)
    )
    assert many < few


def test_slow_lines_take_time(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(tp=2), MODEL)
    assert seconds(setup, inside=200e9) < seconds(setup, inside=10e9)
    assert seconds(setup, per_node=2) < seconds(setup, per_node=1)
