"""Which modules share data and how; tests/layouts shows that the numbers are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel import sharding  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Pretend = Callable[..., AbstractContextManager[Any]]


def small() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))


def kinds(model: Any) -> list[str]:
    return [type(module).__name__[:4] for module in model.modules()]


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        ({"dp_replicate": 4}, ["DDPS", "Line", "Line", "Line"]),
        ({"dp_replicate": 2, "tp": 2}, ["Repl", "Repl", "Repl", "Line"]),
        ({"dp_replicate": 2, "pp": 2, "pp_schedule": "gpipe", "microbatches": 2}, ["Repl", "Repl", "Repl", "Line"]),
        ({"dp_shard": 4, "zero_stage": 3}, ["FSDP", "FSDP", "FSDP", "Line"]),
        ({"dp_shard": 2, "dp_replicate": 2, "zero_stage": 1}, ["FSDP", "FSDP", "FSDP", "Line"]),
        ({"cp": 4}, ["DDPS", "Line", "Line", "Line"]),
        ({"tp": 4}, ["Sequ", "Line", "Line", "Line"]),
    ],
)
def test_layers_share_by_themselves_and_the_rest_together(
    pretend: Pretend, degrees: dict[str, int], expected: list[str]
) -> None:
    with pretend(0, 4, **degrees) as joined:
        model = small()
        sharding.share_data(model, list(model[:2]), joined)
        assert kinds(model) == expected
        size = {True: 1, False: 4 // joined.mesh.shape[2]}[joined.layout.zero_stage == 0]
        if joined.layout.zero_stage:
            assert len(model[0].weight.to_local()) == size


@pytest.mark.parametrize(
    ("stage", "reshard", "whole_weights", "whole_gradients"),
    [(1, True, True, True), (2, True, True, False), (3, True, False, False), (3, False, True, False)],
)
def test_what_each_stage_of_zero_has_whole_within_a_step(
    pretend: Pretend, stage: int, *, reshard: bool, whole_weights: bool, whole_gradients: bool
) -> None:
    from forge.ml.parallel.batches import last_of_step
    from forge.ml.parallel.pieces import is_spread, local

    with pretend(1, 4, dp_shard=4, zero_stage=stage, reshard_after_forward=reshard) as joined:
        model = small()
        sharding.share_data(model, list(model[:2]), joined)
        seen: list[bool] = []
        model[1].register_forward_hook(lambda *_: seen.append(not is_spread(model[0].weight)))
        gradients = []
        for last in (False, True):
            last_of_step(model, joined, last=last)
            model(torch.randn(2, 4)).sum().backward()
            gradients.append(model[0].weight.grad)
        assert seen == [whole_weights, whole_weights]
        # Whole gradients wait until the last batch of the step; with whole weights between batches torch keeps pieces elsewhere.
        assert (gradients[0] is not None and not is_spread(gradients[0])) == whole_gradients
        assert local(gradients[1]).numel() * 4 == gradients[1].numel()
        optimizer = torch.optim.AdamW(model.parameters())
        optimizer.step()
        remembered = optimizer.state[model[0].weight]["exp_avg"]
        assert local(remembered).numel() * 4 == remembered.numel()


def test_a_weight_of_several_layers_is_around_them(pretend: Pretend) -> None:
    with pretend(0, 2, dp_shard=2, zero_stage=3) as joined:
        model = small()
        model[1].weight = model[0].weight
        sharding.share_data(model, list(model[:2]), joined)
        assert model[1].weight is model[0].weight
        model(torch.randn(2, 4)).sum().backward()
        assert {len(weight.to_local()) for weight in model.parameters()} == {2, 1}
        assert all(weight.grad is not None for weight in model.parameters())


class Parts(torch.nn.Module):
    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def layer(**more: Any) -> Any:
    return Parts(product=torch.nn.Linear(4, 4), norm=torch.nn.LayerNorm(4), **more)


class Experts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stacked = torch.nn.Parameter(torch.zeros(4, 4, 4))


FLOAT, BRAIN = "float32", "bfloat16"


@pytest.mark.parametrize(
    ("block", "stored", "computed", "matrix", "norm"),
    [
        (layer, torch.float32, torch.bfloat16, BRAIN, "around"),
        (layer, torch.float32, None, FLOAT, FLOAT),
        (layer, torch.bfloat16, torch.bfloat16, BRAIN, BRAIN),
        (lambda: layer(experts=Experts()), torch.float32, torch.bfloat16, FLOAT, FLOAT),
        (lambda: layer(positions=torch.nn.Embedding(4, 4)), torch.float32, torch.bfloat16, FLOAT, FLOAT),
    ],
    ids=["cast", "no autocast", "stored so", "experts", "not a product"],
)
def test_the_matrices_of_a_layer_are_gathered_as_they_compute(
    pretend: Pretend, block: Callable[[], Any], stored: Any, computed: Any, matrix: str, norm: str
) -> None:
    with pretend(0, 4, dp_shard=4) as joined:
        model = Parts(embed=torch.nn.Embedding(8, 4), layer=block()).to(stored)
        sharding.share_data(model, [model.layer], joined, computed)
        model.layer.unshard()  # what it gathers when it computes
        found = {name: str(weight.dtype).removeprefix("torch.") for name, weight in whole_in(model)}
        assert found["layer.product.weight"] == matrix
        assert found.get("layer.norm.weight", "around") == norm
        assert ("layer.product.bias" in found) == (norm != "around")
        assert not any(name.startswith("embed") for name in found)
        model.unshard()
        assert {str(weight.dtype) for name, weight in whole_in(model) if name not in found} == {str(stored)}
        assert len(whole_in(model)) == len(list(model.parameters()))


def whole_in(model: Any) -> list[tuple[str, Any]]:
    from forge.ml.parallel.pieces import is_spread

    return [(name, weight) for name, weight in model.named_parameters() if not is_spread(weight)]


@pytest.mark.slow
def test_gathered_as_they_compute_or_as_they_are_stored_it_is_the_same_to_the_bit(tmp_path: Path) -> None:
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*started, str(Path(__file__).with_name("sharding_process.py")), str(tmp_path / "found.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    differing = json.loads((tmp_path / "found.json").read_text())
    assert len(differing) == 18
    assert {name: names for name, names in differing.items() if names} == {}


def test_of_a_weight_in_pieces_each_process_rounds_its_own(pretend: Pretend) -> None:
    from torch.distributed.tensor import DTensor, Shard

    from forge.ml.optim.rounding import StochasticRounding

    with pretend(1, 2, dp_shard=2, zero_stage=3) as joined:
        piece = torch.ones(5_000, 2, dtype=torch.bfloat16)
        weight = torch.nn.Parameter(DTensor.from_local(piece, joined.mesh["shard"], [Shard(0)], run_check=False))
        made = StochasticRounding([weight], optimizer=torch.optim.AdamW)
        for _ in range(20):
            weight.grad = torch.ones_like(weight)
            made.step()
        # 20 steps of 1e-3, each a fourth of the distance from 1 to the next lower value.
        assert weight.to_local().float().mean().item() == pytest.approx(1.0 - 0.02, abs=1e-3)
        assert {made.state[weight][name].dtype for name in ("exp_avg", "exp_avg_sq")} == {torch.bfloat16}
