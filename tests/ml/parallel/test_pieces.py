"""Pieces of tensors, and the whole of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel import pieces  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Pretend = Callable[..., AbstractContextManager[Any]]


def test_what_is_not_spread_stays_as_it_is() -> None:
    tensor = torch.arange(4)
    assert pieces.piece_of(tensor, torch.zeros(4)) is tensor
    assert pieces.piece_of(tensor, torch.zeros(4), torch.device("meta")).is_meta
    assert pieces.local(tensor) is tensor
    assert pieces.whole(tensor) is tensor
    assert not pieces.is_spread(tensor)


def test_all_tensors_of_a_tree_are_given_in_its_order() -> None:
    seen: list[float] = []
    tree = {"a": torch.tensor(1.0), "b": [torch.tensor(2.0), (3, torch.tensor(4.0))], "c": "text"}
    kept = pieces.wholes(tree, lambda tensor: seen.append(tensor.item()))
    assert kept == {"a": None, "b": [None, (3, None)], "c": "text"}
    assert seen == [1.0, 2.0, 4.0]


def test_pieces_move_and_what_is_shared_stays_shared(pretend: Pretend) -> None:
    from torch.distributed.fsdp import fully_shard

    with pretend(1, 4, dp_shard=4, zero_stage=3) as joined:
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
        model[1].weight = model[0].weight
        model[1].bias.requires_grad_(requires_grad=False)
        fully_shard(model, mesh=joined.mesh["shard"], ignored_params=set(model[2].parameters()))
        pieces.move_pieces(model, "meta")
        assert model[0].weight.is_meta
        assert model[0].weight is model[1].weight
        assert [weight.requires_grad for weight in model[:2].parameters()] == [True, True, False]
        assert not model[2].weight.is_meta


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("rows", [8, 5, 1])
def test_a_piece_is_that_of_fully_shard(pretend: Pretend, rank: int, rows: int) -> None:
    from torch.distributed.fsdp import fully_shard

    full = torch.arange(rows * 3.0).reshape(rows, 3)
    with pretend(rank, 4, dp_shard=4, zero_stage=3) as joined:
        linear = torch.nn.Linear(3, rows, bias=False)
        with torch.no_grad():
            linear.weight.copy_(full)
        fully_shard(linear, mesh=joined.mesh["shard"])
        piece = pieces.piece_of(full, linear.weight)
        assert torch.equal(piece.to_local(), linear.weight.to_local())
        assert piece.shape == full.shape
        assert piece.to_local().untyped_storage().nbytes() == piece.to_local().nbytes  # the whole can go
        assert pieces.is_spread(piece)


def test_a_piece_of_a_piece(pretend: Pretend) -> None:
    rank = 3  # one only: torch keeps what it knows of a mesh for longer than the mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard, distribute_tensor

    full = torch.arange(24.0).reshape(8, 3)
    with pretend(rank, 4, dp_shard=2, tp=2, zero_stage=3) as joined:
        linear = torch.nn.Linear(3, 8, bias=False)
        mine = full.chunk(2)[rank % 2]
        weight = distribute_tensor(full, joined.mesh["tp"], [Shard(0)], src_data_rank=None)
        assert torch.equal(weight.to_local(), mine)
        linear.weight = torch.nn.Parameter(weight)
        fully_shard(linear, mesh=joined.mesh["shard"])
        piece = pieces.piece_of(full, linear.weight)
        assert torch.equal(piece.to_local(), mine.chunk(2)[rank // 2])
        assert torch.equal(piece.to_local(), linear.weight.to_local())


def test_a_tensor_of_another_shape_is_refused(pretend: Pretend) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor

    with pretend(0, 2, dp_shard=2, zero_stage=3) as joined:
        like = distribute_tensor(torch.zeros(4, 2), joined.mesh["shard"], [Shard(0)], src_data_rank=None)
        with pytest.raises(ValueError, match=r"a piece of \(6, 2\) was asked for where the whole is \(4, 2\)"):
            pieces.piece_of(torch.zeros(6, 2), like)


@pytest.mark.parametrize("rank", range(4))
def test_the_places_of_a_piece_are_read_as_it_is_cut(pretend: Pretend, rank: int) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor

    full = torch.arange(30.0).reshape(6, 5)
    with pretend(rank, 4, dp_shard=2, tp=2, zero_stage=3) as joined:
        like = distribute_tensor(full, joined.mesh["shard", "tp"], [Shard(0), Shard(1)], src_data_rank=None)
        rows, columns = pieces.places_of(like)
        cut = pieces.piece_of(full, like)
        assert torch.equal(full[rows][:, columns], cut.to_local())
        assert torch.equal(pieces.as_piece(full[rows][:, columns], like).to_local(), cut.to_local())
        with pytest.raises(ValueError, match="was cut where this process has one of"):
            pieces.as_piece(full, like)
