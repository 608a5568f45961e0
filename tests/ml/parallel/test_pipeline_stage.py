"""One stage, with itself as the only process."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

import torch.distributed as dist  # noqa: E402 - torch may be missing

from forge.base.errors import ModelError  # noqa: E402 - as above
from forge.ml.parallel.pipeline_stage import StageRunner  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def stage(module: torch.nn.Module, number: int, **changes: Any) -> StageRunner:
    settings: dict[str, Any] = {
        "compute": lambda _, received: module(torch.ones(2, 4) if received is None else received),
        "blank": lambda _: torch.empty(2, 4),
        "backward": nullcontext,
        "whole": True,
    }
    made = StageRunner(module, number, 2, torch.device("cpu"), dist.group.WORLD, **(settings | changes))
    made.has_backward = True
    made.chunks = 1
    return made


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("whole", [True, False])
def test_two_stages_of_a_process_compute_what_one_module_does(whole: bool) -> None:  # noqa: FBT001 - a parameter
    torch.manual_seed(0)
    one, two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    two(one(torch.ones(2, 4))).sum().backward()
    expected = [parameter.grad.clone() for module in (one, two) for parameter in module.parameters()]
    one.zero_grad()
    two.zero_grad()
    first, last = stage(one, 0, whole=whole), stage(two, 1)
    last.set_local_fwd_input(first.forward_one_chunk(0), 0)
    last.backward_one_chunk(0, loss=last.forward_one_chunk(0).sum())
    first.set_local_bwd_input(last.get_local_bwd_output(0), 0)
    first.backward_one_chunk(0, full_backward=whole)
    if not whole:
        first.backward_weight_one_chunk(0)
    found = [parameter.grad for module in (one, two) for parameter in module.parameters()]
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("alone")
def test_hidden_states_that_the_next_stage_does_not_expect_are_refused() -> None:
    first = stage(torch.nn.Linear(4, 3), 0)
    first.forward_one_chunk(0)
    with pytest.raises(ModelError, match="the next one expects"):
        first.get_fwd_send_ops(0)
