"""Who writes what: every weight is written by one process, the shares are about equal, and layers stay together."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel.shares import Shares, everybody_sees, own_optimizer, own_weights  # noqa: E402 - torch may be missing
from forge.ml.parallel.world import World  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above

if TYPE_CHECKING:
    from pathlib import Path


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=40), writers=st.integers(1, 8))
def test_each_thing_is_one_writers_and_neighbours_stay_together(sizes: list[int], writers: int) -> None:
    named: dict[Any, int] = dict(enumerate(sizes))
    shares = [Shares(place, writers).mine(named) for place in range(writers)]
    together = [name for share in shares for name in sorted(share)]
    assert together == sorted(named)
    bound = sum(sizes) / writers + max(sizes)
    assert all(sum(named[name] for name in share) <= bound + 1 for share in shares)


def test_who_has_little_writes_one_file() -> None:
    def among(size: int, wanted: int | None = None, pp: int = 1) -> int:
        schedule = "1f1b" if pp > 1 else None
        layout = Layout(pp=pp, dp_shard=8 // pp, zero_stage=3, pp_schedule=schedule, microbatches=pp)
        world: Any = SimpleNamespace(size=8, rank=5, layout=layout)
        return Shares.among(world, size, wanted).writers

    assert among(1 << 20) == 1
    assert among(1 << 30) == 4
    assert among(1 << 40) == 8
    assert among(1 << 40, pp=2) == 4
    assert among(1 << 20, 3) == 3


def test_the_layers_of_a_model_are_not_torn() -> None:
    state = {f"model.layers.{layer}.{part}.weight": torch.ones(4) for layer in range(4) for part in "ab"}
    state = {"model.embed.weight": torch.ones(8), **state, "lm_head.weight": torch.ones(8)}
    parts = [own_weights(Shares(place, 3), state, without={"lm_head.weight"}) for place in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(state.keys() - {"lm_head.weight"})
    for layer in range(4):
        assert sum(any(f".{layer}." in name for name in part) for part in parts) == 1
    state["model.embed.weight"].zero_()
    assert parts[0]["model.embed.weight"].sum() == 8, "what is written is a copy"


def test_of_an_optimizer_the_rest_is_known_by_its_shape() -> None:
    state = {"state": {0: {"m": torch.ones(4), "n": 1}, 1: {"m": torch.ones(4)}}, "param_groups": [{"lr": 0.1}]}
    parts = [own_optimizer(Shares(place, 2), state) for place in range(2)]
    assert [[part["state"][number]["m"].is_meta for number in (0, 1)] for part in parts] == [
        [False, True],
        [True, False],
    ]
    assert parts[1]["state"][0]["n"] == 1
    assert parts[1]["param_groups"] == [{"lr": 0.1}]


def test_a_folder_of_another_machine_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.ml.parallel.shares._LOOKS", 1)
    world = World(torch.device("cpu"))
    assert everybody_sees(world, str(tmp_path))
    inode = os.stat(tmp_path).st_ino
    monkeypatch.setattr(World, "tell", lambda self, value: inode + 1)  # noqa: ARG005 - another folder of this name
    assert not everybody_sees(world, str(tmp_path))
