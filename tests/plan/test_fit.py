from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge.plan.asked import Choices, RunQuestion
from forge.plan.capability import refusals
from forge.plan.fit import fitting_layouts
from forge.plan.layout import Layout
from forge.plan.memory import pipeline_memory
from forge.plan.speed import Hardware

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from forge.plan.fit import Fitting
    from forge.plan.setup import TrainingSetup

MODEL: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
    "tie_word_embeddings": False,
}


def fits(setup: TrainingSetup, room: float, ranks: int) -> list[Fitting]:
    return fitting_layouts(setup, Layout(), room=room, ranks=ranks, hardware=Hardware())


def test_what_is_listed_fits_is_possible_and_goes_from_quick_to_slow(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(model=MODEL, weights="bfloat16", device="cuda", batch_size=8)
    found = fits(setup, 40e9, 8)
    assert found
    for one in found:
        assert max(memory.peak for memory in pipeline_memory(one.setup)) == one.peak <= 40e9
        asked = RunQuestion(
            shape=one.setup.shape,
            layout=one.setup.layout,
            ranks=8,
            sequence_length=512,
            batch_size=8,
            device="cuda",
        )
        assert refusals(asked) == []
    speeds = [one.tokens_per_second for one in found]
    assert speeds == sorted(speeds, reverse=True)
    assert len({one.overrides for one in found}) == len(found)


def test_ways_out_of_layouts_that_cannot_be_are_not_looked_for(
    setup_for: Callable[..., TrainingSetup], monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_for(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("forge.plan.capability.layouts_near", looked_for)
    setup = setup_for(model={**MODEL, "num_attention_heads": 5, "num_key_value_heads": 5}, device="cuda", batch_size=8)
    assert fits(setup, 400e9, 64)


def test_layers_are_checkpointed_only_where_a_layout_does_not_fit_otherwise(
    setup_for: Callable[..., TrainingSetup],
) -> None:
    setup = setup_for(model=MODEL, weights="bfloat16", device="cuda", batch_size=8, sequence_length=4096)
    assert "gradient_checkpointing" not in fits(setup, 2e12, 8)[0].overrides
    close = fits(setup, 40e9, 8)
    words = "trainer.gradient_checkpointing=true"
    assert {one.setup.checkpointing for one in close} == {"gradient_checkpointing" in one.overrides for one in close}
    assert any(one.overrides.endswith(words) for one in close)
    assert any(one.overrides.endswith(f"{words} trainer.per_device_train_batch_size=1") for one in fits(setup, 16e9, 8))


def test_what_fits_nowhere_is_an_empty_list(setup_for: Callable[..., TrainingSetup]) -> None:
    assert fits(setup_for(model=MODEL, weights="bfloat16", device="cuda"), 8e9, 1) == []


def test_one_process_stays_as_it_is(setup_for: Callable[..., TrainingSetup]) -> None:
    (found,) = fits(setup_for(device="cuda"), 24e9, 1)
    assert found.overrides == ""


def test_what_a_run_refuses_is_not_listed(setup_for: Callable[..., TrainingSetup]) -> None:
    fused = setup_for(model=MODEL, weights="bfloat16", device="cuda", batch_size=8, choices=Choices(fused=True))
    found = [each.setup.layout for each in fits(fused, 2e12, 8)]
    assert found
    assert all(layout.pp == 1 and (layout.shards_state or layout.dp_replicate * layout.cp == 1) for layout in found)
    assert fits(fused, 2e12, 1)


def test_the_batches_of_a_step_go_through_a_pipeline_together(setup_for: Callable[..., TrainingSetup]) -> None:
    # 25 microbatches make no equal rounds of an interleaved schedule on two processes.
    setup = setup_for(model=MODEL, weights="bfloat16", device="cuda", batch_size=5, accumulation=5)
    found = fits(setup, 2e12, 4)
    assert any(one.setup.layout.pp > 1 for one in found)
    assert all(one.setup.layout.pp_schedule != "interleaved_1f1b" for one in found)
