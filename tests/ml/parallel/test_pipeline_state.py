"""What stages have, brought together."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel.pipeline_state import (  # noqa: E402 - torch may be missing
    brought_together,
    leads_its_stage,
    united_optimizer,
    united_weights,
)
from forge.ml.parallel.world import World  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above


def test_weights_come_in_the_order_of_the_whole_model_and_tied_ones_once() -> None:
    first, last = torch.ones(1), torch.ones(1)
    found = united_weights(
        [{"embed": first, "layer.0": first}, {"layer.1": last, "head": last}],
        ["embed", "layer.0", "layer.1", "head"],
        {"head": "embed"},
    )
    assert list(found) == ["embed", "layer.0", "layer.1", "head"]
    assert found["head"] is found["embed"]


def test_the_states_of_optimizers_become_one_as_of_one_process() -> None:
    torch.manual_seed(0)
    names = ["a", "b", "c", "d"]
    whole = {name: torch.nn.Parameter(torch.randn(2, 2 if name in "ac" else 1)) for name in names}

    def optimizer(some: str) -> torch.optim.Optimizer:
        matrices = [(name, whole[name]) for name in some if name in "ac"]
        others = [(name, whole[name]) for name in some if name in "bd"]
        made = torch.optim.AdamW([{"params": matrices}, {"params": others, "weight_decay": 0.0}])
        for name in some:
            whole[name].grad = torch.ones_like(whole[name])
        made.step()
        return made

    parts = [optimizer("ab").state_dict(), optimizer("bcd").state_dict()]
    expected = optimizer("abcd").state_dict()
    found = united_optimizer(parts, names)
    assert found["param_groups"] == expected["param_groups"]
    assert found["state"].keys() == expected["state"].keys()


def test_a_rate_that_is_a_tensor_may_be_of_another_process() -> None:
    def part(name: str, device: str) -> dict[str, Any]:
        rate = torch.tensor(0.1, device=device)
        group = {"lr": rate, "weight_decay": 0.0, "params": [0], "param_names": [name]}
        return {"state": {0: {"step": torch.tensor(1.0, device=device)}}, "param_groups": [group]}

    found = united_optimizer([part("a", "cpu"), part("b", "meta")], ["a", "b"])
    (group,) = found["param_groups"]
    assert group["param_names"] == ["a", "b"]
    assert group["lr"].item() == pytest.approx(0.1)


def test_one_process_speaks_for_its_stage() -> None:
    layout = Layout(pp=2, pp_schedule="1f1b", microbatches=2, dp_shard=2, zero_stage=3)
    device = torch.device("cpu")
    worlds = [World(device, layout, rank=rank, size=4) for rank in range(4)]
    assert [leads_its_stage(world) for world in worlds] == [True, False, True, False]
    assert brought_together(worlds[1], {}) is None
