"""One process by itself: every operation gives back what it is given. Several of them: see `test_tensor.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from forge.ml.parallel.tensor_collectives import Peers

pytestmark = pytest.mark.torch


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Peers]:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    from forge.ml.parallel.tensor_collectives import Peers

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        yield Peers.of(init_device_mesh("cpu", (1,)))
    finally:
        dist.destroy_process_group()


def test_alone_nothing_changes(alone: Peers) -> None:
    import torch

    from forge.ml.parallel.tensor_collectives import (
        collected,
        exchanged,
        gathered,
        handed_out,
        scattered,
        sliced,
        summed,
        total_of,
    )

    assert (alone.size, alone.rank) == (1, 0)
    operations = (
        (handed_out,),
        (summed,),
        (gathered, 1),
        (sliced, -1),
        (collected, 0),
        (scattered, 1),
        (exchanged, 1, 0),
    )
    for operation, *more in operations:
        given = torch.randn(2, 4, requires_grad=True)
        answer = operation(given, *more, alone)
        answer.backward(torch.full((2, 4), 3.0))
        assert torch.equal(answer, given)
        assert torch.equal(given.grad, torch.full((2, 4), 3.0))
    assert torch.equal(total_of(given.detach(), alone, "max"), given)


def test_what_is_not_trained_is_copied_without_a_trace(alone: Peers) -> None:
    import torch

    from forge.ml.parallel.tensor_collectives import handed_out

    given = torch.randn(2)
    assert handed_out(given, alone) is given


def test_what_goes_into_products_travels_in_their_type(alone: Peers) -> None:
    import torch

    from forge.ml.parallel.tensor_collectives import collected

    given, pull = torch.randn(2, 4, requires_grad=True), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = collected(given, 1, alone)
    answer.backward(pull)
    assert answer.dtype == torch.float32
    assert torch.equal(answer, given.bfloat16().float())
    assert torch.equal(given.grad, pull)  # what several products change it by is added up before it is rounded
