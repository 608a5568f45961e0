"""Every optimizer, schedule, layout, logger, adapter and place to run of the library builds the real thing."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import pytest
from hydra.utils import instantiate

from forge.base.places import library_configs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
groups = pytest.importorskip("forge.ml.optim.groups")

LOW_BIT = {"adamw_8bit", "adamw_4bit"}
RANKS = 8
NEEDED = {
    "ssh": ["launch.hosts=[a,b]"],
    **{f"k8s_{kind}": ["launch.image=forge:1"] for kind in ("pytorchjob", "pytorchjob_elastic", "trainjob", "job")},
}


def _choices(group: str) -> list[str]:
    names = os.listdir(os.path.join(library_configs(), group))
    return sorted(name.removesuffix(".yaml") for name in names if not name.startswith("_"))


def _built(node: Any) -> Any:
    return instantiate(node, _convert_="all")


# The low-bit optimizers compile their step, which takes seconds and is tested where they are.
@torch.compiler.set_stance("force_eager")
@pytest.mark.parametrize("choice", _choices("optimizer"))
def test_an_optimizer_lowers_a_loss(choose: Callable[..., Any], choice: str) -> None:
    if choice in LOW_BIT and importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao, the extra lowbit, is not installed")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 1))
    optimizer = _built(choose("optimizer", choice))(groups.parameter_groups(model))
    inputs = torch.randn(64, 32)
    losses = []
    for _ in range(20):
        loss = (model(inputs) - inputs[:, :1]).pow(2).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("choice", _choices("schedule"))
def test_a_schedule_warms_up_to_the_learning_rate_of_the_optimizer(choose: Callable[..., Any], choice: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = _built(choose("schedule", choice))(optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert 0 < rates[0] < 2.0
    assert max(rates) == pytest.approx(2.0)
    assert choice == "constant" or rates[-1] < 0.5


@pytest.mark.parametrize("choice", _choices("parallel"))
def test_a_layout_fits_eight_processes_once_its_rest_is_known(choose: Callable[..., Any], choice: str) -> None:
    layout = _built(choose("parallel", choice))
    ranks = RANKS if -1 in (layout.dp_replicate, layout.dp_shard) else layout.fixed_ranks
    assert layout.for_ranks(ranks).fixed_ranks == ranks


@pytest.mark.parametrize("choice", _choices("launch"))
def test_a_place_to_run_is_of_its_own_kind(choose: Callable[..., Any], choice: str) -> None:
    assert _built(choose("launch", choice, *NEEDED.get(choice, []))).kind == choice


@pytest.mark.parametrize("choice", _choices("logging"))
def test_logging_is_a_list_with_named_items(choose: Callable[..., Any], choice: str) -> None:
    loggers = choose("logging", choice)
    assert loggers.pop("_list_") is True
    assert list(loggers) == ([] if choice == "none" else [choice])
    assert [type(_built(logger)).__name__.lower() for logger in loggers.values()] == list(loggers)


@pytest.mark.parametrize("choice", _choices("adapter"))
def test_an_adapter_is_what_peft_takes(choose: Callable[..., Any], choice: str) -> None:
    pytest.importorskip("peft")
    adapter = _built(choose("adapter", choice))
    assert adapter.r == 16
    assert adapter.use_dora is (choice == "dora")
