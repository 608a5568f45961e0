"""When gradients are summed, and weights given up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel.batches import last_of_step  # noqa: E402 - torch may be missing
from forge.ml.parallel.world import World  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above

SUMS, COPIES, WEIGHTS = "set_requires_gradient_sync", "set_requires_all_reduce", "set_reshard_after_backward"


@pytest.mark.parametrize(
    ("layout", "size", "told"),
    [
        (Layout(), 1, set()),
        (Layout(dp_replicate=2), 2, {SUMS}),
        (Layout(dp_shard=2, zero_stage=1), 2, {SUMS, WEIGHTS}),
        (Layout(dp_shard=2, zero_stage=2), 2, {WEIGHTS}),
        (Layout(dp_shard=2, zero_stage=3), 2, set()),
        (Layout(dp_replicate=2, dp_shard=2, zero_stage=1), 4, {SUMS, WEIGHTS}),
        (Layout(dp_replicate=2, dp_shard=2, zero_stage=2), 4, {COPIES, WEIGHTS}),
        (Layout(dp_replicate=2, dp_shard=2, zero_stage=3), 4, {COPIES}),
    ],
)
def test_what_waits_for_the_last_batch(layout: Layout, size: int, told: set[str]) -> None:
    heard: dict[str, list[bool]] = {}
    model: Any = SimpleNamespace(**{name: heard.setdefault(name, []).append for name in (SUMS, COPIES, WEIGHTS)})
    for last in (False, True):
        last_of_step(model, World(torch.device("cpu"), layout, 0, size), last=last)
    assert heard == {name: [False, True] if name in told else [] for name in (SUMS, COPIES, WEIGHTS)}


def test_a_model_that_nothing_is_shared_of_is_told_nothing() -> None:
    last_of_step(torch.nn.Linear(1, 1), World(torch.device("cpu"), Layout(tp=2), 0, 2), last=True)
