"""Who a process is among others, and what they tell one another."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.base.errors import RunError  # noqa: E402 - torch may be missing
from forge.ml.parallel import world  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Pretend = Callable[..., AbstractContextManager[Any]]

CPU = torch.device("cpu")


def test_a_process_alone_sends_nothing() -> None:
    alone = world.join(Layout(), CPU)
    assert alone.alone
    assert alone.first
    assert (alone.data_rank, alone.data_size, alone.place("tp")) == (0, 1, 0)
    assert alone.sum([1.5, 2]) == [1.5, 2]
    assert alone.tell(["x"]) == ["x"]
    with alone.first_goes_first():
        pass
    alone.leave()
    assert not torch.distributed.is_initialized()


def test_a_layout_that_needs_others_is_refused_alone() -> None:
    with pytest.raises(RunError, match="2") as caught:
        world.join(Layout(dp_replicate=2), CPU)
    assert "as many processes" in str(caught.value.hint)


@pytest.mark.parametrize("rank", range(8))
def test_the_places_of_the_processes(pretend: Pretend, rank: int) -> None:
    with pretend(rank, 8, dp_replicate=2, dp_shard=2, cp=2, zero_stage=3) as joined:
        places = tuple(joined.place(name) for name in world.DIMENSIONS)
        assert places == (0, rank // 4, rank // 2 % 2, rank % 2, 0)
        assert (joined.data_rank, joined.data_size) == (rank // 2, 4)
        assert joined.first == (rank == 0)
        assert joined.mesh.mesh_dim_names == world.MESH
        # The pieces of a sequence share the weights of one copy.
        assert tuple(joined.mesh.shape) == (1, 2, 4, 1)
        assert torch.distributed.get_world_size(joined.groups["data"]) == 8
        assert torch.distributed.get_process_group_ranks(joined.groups["cp"]) == [rank - rank % 2, rank - rank % 2 + 1]


def test_who_sees_other_rows_or_layers_draws_otherwise() -> None:
    layout = Layout(pp=2, dp_replicate=2, cp=2, tp=2, pp_schedule="1f1b", microbatches=2)
    processes = [world.World(CPU, layout, rank, 16) for rank in range(16)]
    drawn = [one.seed(42, 3) for one in processes]
    assert len(set(drawn)) == 8
    assert drawn[::2] == drawn[1::2], "those of tp see the same rows and layers"
    assert not set(drawn) & {one.seed(42, 4) for one in processes}
    assert not set(drawn) & {one.seed(43, 3) for one in processes}


def test_copies_have_one_dimension_with_the_pieces_of_sequences(pretend: Pretend) -> None:
    with pretend(0, 8, dp_replicate=2, cp=2, tp=2) as joined:
        assert tuple(joined.mesh.shape) == (1, 4, 1, 2)
        assert torch.distributed.get_process_group_ranks(joined.groups["data"]) == [0, 2, 4, 6]
        assert joined.cuts_weights
    with pretend(0, 4, dp_replicate=-1) as joined:
        assert joined.layout.dp_replicate == 4
        assert not joined.cuts_weights


def test_stages_share_a_loss_and_not_data(pretend: Pretend) -> None:
    with pretend(1, 4, pp=2, dp_replicate=2, pp_schedule="gpipe", microbatches=2) as joined:
        assert torch.distributed.get_process_group_ranks(joined.groups["data"]) == [0, 1]
        assert torch.distributed.get_process_group_ranks(joined.groups["loss"]) == [0, 1, 2, 3]
        assert joined.place("pp") == 0
        with pytest.raises(KeyError):
            joined.place("nosuch")


def test_how_long_it_waits_for_others_is_changed_for_all_groups() -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=timedelta(hours=12))
    try:
        groups = [dist.group.WORLD, dist.new_group(backend="gloo", timeout=timedelta(hours=12))]
        one = world.World(CPU, rank=0, size=2)
        for seconds, expected in ((45.0, timedelta(seconds=45)), (float("inf"), timedelta(hours=12))):
            one.wait_at_most(seconds)
            assert [group._get_backend(CPU).options._timeout for group in groups] == [expected] * 2
    finally:
        dist.destroy_process_group()
    world.World(CPU).wait_at_most(1.0)  # alone it waits for nobody
