from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.plan.arithmetic import arithmetic, step_operations
from forge.plan.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


def test_steps_of_a_run(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(dp_replicate=2), accumulation=4)
    run = arithmetic(setup, epochs=2.5, data_tokens=10 * 4 * 512 * 8)
    assert (run.rows_per_step, run.tokens_per_step) == (32, 16_384)
    assert (run.steps_per_epoch, run.steps, run.tokens, run.epochs) == (10, 25, 25 * 16_384, 2.5)


@pytest.mark.parametrize(
    ("rows", "batch", "epochs", "each", "steps"),
    [(1801, 1000, 1.0, 2, 2), (1801, 8, 1.0, 226, 226), (2, 8, 3.0, 1, 1), (12, 8, 3.0, 2, 5), (1, 8, 0.5, 1, 1)],
)
def test_the_last_step_is_taken_though_the_data_does_not_fill_it(
    setup_for: Callable[..., TrainingSetup], rows: int, batch: int, epochs: float, each: int, steps: int
) -> None:
    run = arithmetic(setup_for(batch_size=batch), epochs=epochs, data_tokens=rows * 512)
    assert (run.steps_per_epoch, run.steps) == (each, steps)
    assert run.epochs == pytest.approx(steps * batch / rows)


def test_a_number_of_steps_counts_before_epochs(setup_for: Callable[..., TrainingSetup]) -> None:
    assert arithmetic(setup_for(), max_steps=7, epochs=2.0).steps == 7
    assert arithmetic(setup_for(), max_steps=7, data_tokens=2048).epochs == 7
    assert arithmetic(setup_for()).steps is None


def test_operations_are_six_a_weight_and_token(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for()
    attention = 3 * 2 * 8 * 512 * 512 * 2048  # half of the pairs
    assert step_operations(setup) == pytest.approx(6 * setup.shape.parameters * 2048 + attention)
    assert step_operations(setup_for(adapter_rank=8)) == pytest.approx(step_operations(setup) * 2 / 3)


def test_the_published_convention_of_a_llama(setup_for: Callable[..., TrainingSetup]) -> None:
    sizes = {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 14_336,
        "vocab_size": 128_256,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    }
    setup = setup_for(model=sizes, batch_size=32, sequence_length=4096, adapter_rank=16)
    # 32.25 GFLOP a token: a LoRA of Llama 3 8B at 4,096 tokens, two passes over what is frozen.
    assert step_operations(setup) / setup.tokens_per_step / 1e9 == pytest.approx(32.25, rel=0.02)
