"""When gradients are summed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel.batches import last_of_step  # noqa: E402 - torch may be missing
from forge.ml.parallel.world import World  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above


@pytest.mark.parametrize(
    ("layout", "size", "told"),
    [
        (Layout(), 1, []),
        (Layout(dp_replicate=2), 2, [False, True]),
        (Layout(dp_shard=2, zero_stage=1), 2, [False, True]),
        (Layout(dp_shard=2, zero_stage=2), 2, []),
        (Layout(dp_shard=2, zero_stage=3), 2, []),
    ],
)
def test_whole_gradients_are_summed_once(layout: Layout, size: int, told: list[bool]) -> None:
    heard: list[bool] = []
    model = SimpleNamespace(set_requires_gradient_sync=heard.append)
    for last in (False, True):
        last_of_step(model, World(torch.device("cpu"), layout, 0, size), last=last)
    assert heard == told
