"""Cross entropy of a head in slices, here of one slice; of several: see `tests/ml/parallel/test_tensor.py`."""

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


def test_one_slice_is_the_whole_head(alone: Peers) -> None:
    import torch

    from forge.ml.loss.linear import linear_cross_entropy
    from forge.ml.loss.sliced import sliced_cross_entropy

    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(7, 8, generator=generator), torch.randn(12, 8, generator=generator), torch.randn(12)]
    targets = torch.tensor([1, 11, -100, 0, 5, 6, -100])
    one, other = ([each.clone().requires_grad_() for each in drawn] for _ in range(2))
    expected = linear_cross_entropy(*one, targets)
    found = sliced_cross_entropy(*other, targets, alone, rows=3)
    expected.backward()
    found.backward()
    assert torch.allclose(found, expected)
    for mine, theirs in zip(other, one, strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


def test_it_can_be_differentiated_once(alone: Peers) -> None:
    import torch

    from forge.ml.loss.sliced import sliced_cross_entropy

    hidden = torch.randn(3, 4, requires_grad=True)
    loss = sliced_cross_entropy(hidden, torch.randn(5, 4), None, torch.tensor([0, 1, 2]), alone)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        loss.backward()


def test_of_no_rows_there_is_no_loss(alone: Peers) -> None:
    import torch

    from forge.ml.loss.sliced import sliced_cross_entropy

    hidden = torch.randn(0, 4, requires_grad=True)
    loss = sliced_cross_entropy(hidden, torch.randn(5, 4), None, torch.zeros(0, dtype=torch.int64), alone)
    loss.backward()
    assert float(loss.detach()) == 0.0
