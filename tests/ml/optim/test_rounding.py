"""Stochastic rounding: unbiased, repeatable, and learning where rounding to the nearest stands still."""

from __future__ import annotations

import copy
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
rounding = pytest.importorskip("forge.ml.optim.rounding")
groups = pytest.importorskip("forge.ml.optim.groups")
muon = pytest.importorskip("forge.ml.optim.muon")

INSIDE: dict[str, Callable[..., Any]] = {
    "adamw": torch.optim.AdamW,
    "fused adamw": partial(torch.optim.AdamW, fused=True),
    "adafactor": torch.optim.Adafactor,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "muon": muon.Muon,
}


def _rounded(values: Any, seed: int = 0) -> Any:
    target = torch.empty(values.shape, dtype=torch.bfloat16)
    rounding.round_into(target, values.clone(), torch.Generator().manual_seed(seed))
    return target


def _model() -> Any:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(16, 8), "hidden": torch.nn.Linear(8, 16)})
    return model.to(torch.bfloat16)


def _optimizer(model: Any, name: str = "adamw", lr: float = 1e-2, seed: int = 0) -> Any:
    return rounding.StochasticRounding(
        groups.parameter_groups(model), optimizer=partial(INSIDE[name], lr=lr), seed=seed
    )


def _steps(model: Any, optimizer: Any, steps: range) -> None:
    for step in steps:
        tokens = (torch.arange(16) * (step + 1)) % 16
        logits = model["hidden"](model["embed"](tokens)).float()
        torch.nn.functional.cross_entropy(logits, tokens).backward()
        optimizer.step()
        optimizer.zero_grad()


def _equal(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rounding_is_unbiased(share: float, sign: float) -> None:
    count, distance = 1_000_000, 2.0**-7
    rounded = _rounded(torch.full((count,), sign * (1.0 + share * distance))).double()
    assert set(rounded.unique().tolist()) == {sign, sign * (1.0 + distance)}
    up = (rounded != sign).double().mean().item()
    # Five standard deviations of so many coins.
    assert abs(up - share) < 5 * (share * (1 - share) / count) ** 0.5


def test_neighbours_are_rounded_independently() -> None:
    up = (_rounded(torch.full((100_000,), 1.0 + 2.0**-8)) != 1.0).double() - 0.5
    for distance in (1, 2, 3, 4, 5, 8):
        assert abs((up[distance:] * up[:-distance]).mean().item()) < 5 * 0.25 / 100_000**0.5


def test_what_bfloat16_can_hold_stays_as_it_is() -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -2.5, float("inf"), -float("inf"), 2.0**-130, 3.0e38]).bfloat16()
    assert torch.equal(_rounded(values.float()), values)
    assert _rounded(torch.tensor([float("nan")])).isnan().all()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (rounding._CHUNK + 3,)])
def test_any_shape_is_rounded_to_a_neighbour(shape: tuple[int, ...]) -> None:
    values = torch.rand(shape) + 1.0
    assert (_rounded(values).float() - values).abs().max() < 2.0**-7


def test_a_transposed_value_is_rounded_in_its_place() -> None:
    values = torch.arange(6.0).view(2, 3).t()
    assert torch.equal(_rounded(values).float(), values)


@pytest.mark.parametrize("stochastic", [False, True])
def test_updates_below_the_distance_of_two_weights_are_learned(stochastic: object) -> None:
    weight = torch.nn.Parameter(torch.ones(10_000, dtype=torch.bfloat16))
    plain = partial(torch.optim.SGD, lr=1e-4)
    made = rounding.StochasticRounding([weight], optimizer=plain) if stochastic else plain([weight])
    for _ in range(200):
        weight.grad = torch.ones_like(weight)
        made.step()
    # 200 updates of 1e-4, each a fortieth of the distance from 1 to the next lower value.
    assert weight.float().mean().item() == (pytest.approx(1.0 - 0.02, abs=5e-4) if stochastic else 1.0)


def test_what_is_remembered_is_a_mean_of_all_steps() -> None:
    weight = torch.nn.Parameter(torch.ones(10_000, dtype=torch.bfloat16))
    plain = torch.nn.Parameter(weight.detach().clone())
    rounded, nearest = rounding.StochasticRounding([weight], optimizer=torch.optim.AdamW), torch.optim.AdamW([plain])
    for parameter, made in ((weight, rounded), (plain, nearest)):
        for _ in range(1_500):
            parameter.grad = torch.ones_like(parameter)
            made.step()
    expected = 1 - 0.999**1_500
    assert rounded.state[weight]["exp_avg_sq"].float().mean().item() == pytest.approx(expected, rel=5e-3)
    assert (
        nearest.state[plain]["exp_avg_sq"].float().mean().item() == 0.5
    )  # where a step is half the distance to the next value


@pytest.mark.parametrize("name", INSIDE)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(name: str) -> None:
    models = [_model() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        _steps(model, _optimizer(model, name, seed=seed), range(5))
    assert _equal(models[0], models[1])
    assert not _equal(models[0], models[2])


@pytest.mark.parametrize("name", INSIDE)
def test_a_restored_optimizer_goes_on_as_if_it_had_never_stopped(name: str) -> None:
    whole = _model()
    _steps(whole, _optimizer(whole, name), range(6))
    model = _model()
    optimizer = _optimizer(model, name)
    _steps(model, optimizer, range(3))
    twin = _model()
    twin.load_state_dict(model.state_dict())
    restored = _optimizer(twin, name, lr=0.5, seed=9)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _steps(twin, restored, range(3, 6))
    assert _equal(twin, whole)


def test_the_state_is_plain_and_as_large_as_the_weights() -> None:
    model = _model()
    optimizer = _optimizer(model)
    _steps(model, optimizer, range(2))
    state = optimizer.state_dict()
    assert state["rounding"] == {"seed": 0}
    assert [entry.pop("rounded") for entry in state["state"].values()] == [2, 2, 2]
    kept = [(name, value.dtype) for entry in state["state"].values() for name, value in entry.items()]
    numbers = {("exp_avg", torch.bfloat16), ("exp_avg_sq", torch.bfloat16), ("step", torch.float32)}
    assert set(kept) == numbers
    assert set(state) == {"state", "param_groups", "rounding"}


def test_the_state_of_a_plain_optimizer_can_be_read() -> None:
    model = _model().float()
    plain = torch.optim.AdamW(groups.parameter_groups(model))
    _steps(model, plain, range(2))
    twin = _model()
    optimizer = _optimizer(twin)
    optimizer.load_state_dict(plain.state_dict())
    _steps(twin, optimizer, range(2))
    assert [entry["rounded"] for entry in optimizer.state_dict()["state"].values()] == [2, 2, 2]


def test_a_parameter_is_rounded_alike_whatever_else_the_process_has() -> None:
    whole, part = _model(), _model()
    _steps(whole, _optimizer(whole), range(3))
    names = [name for name, _ in part.named_parameters()][1:]
    for name, parameter in part.named_parameters():
        parameter.requires_grad_(name in names)
    frozen = {name: value.clone() for name, value in whole.state_dict().items()}
    alone = rounding.StochasticRounding(
        groups.parameter_groups(part), optimizer=partial(torch.optim.SGD, lr=0.3), seed=3
    )
    other = _model()
    both = rounding.StochasticRounding(
        groups.parameter_groups(other), optimizer=partial(torch.optim.SGD, lr=0.3), seed=3
    )
    for _ in range(3):
        for model, optimizer in ((part, alone), (other, both)):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 0.01) if parameter.requires_grad else None
            optimizer.step()
    for name in names:
        assert torch.equal(part.state_dict()[name], other.state_dict()[name])
        assert not torch.equal(part.state_dict()[name], frozen[name])


def test_one_parameter_at_a_time_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    copies: list[Any] = []
    inside = rounding.StochasticRounding._step_inside

    def watched(self: Any, group: dict[str, Any], parameter: Any) -> None:
        copies.append(weakref.ref(parameter))
        alive.append(sum(one() is not None for one in copies))
        inside(self, group, parameter)

    monkeypatch.setattr(rounding.StochasticRounding, "_step_inside", watched)
    model = _model()
    _steps(model, _optimizer(model), range(2))
    assert alive == [1] * 6


def test_parameters_of_other_types_are_updated_as_without_it() -> None:
    model, twin = _model().float(), _model().float()
    _steps(model, _optimizer(model), range(3))
    _steps(twin, torch.optim.AdamW(groups.parameter_groups(twin), 1e-2), range(3))
    assert _equal(model, twin)


def test_a_schedule_reaches_the_optimizer_inside() -> None:
    model = _model()
    optimizer = _optimizer(model, "sgd")
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.0)
    _steps(model, optimizer, range(2))
    assert _equal(model, _model())


def test_a_closure_is_called() -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    assert rounding.StochasticRounding([weight], optimizer=partial(torch.optim.SGD, lr=0.5)).step(lambda: 7.0) == 7.0
    assert weight.item() == 0.5


def test_float16_is_refused() -> None:
    with pytest.raises(ValueError, match="set dtype to bfloat16"):
        _optimizer(_model().half())


@pytest.mark.parametrize(
    ("how", "dtype", "expected"),
    [
        ("auto", torch.bfloat16, True),
        ("auto", torch.float32, False),
        (True, torch.float32, True),
        (False, torch.bfloat16, False),
    ],
)
def test_what_auto_means(how: Any, dtype: Any, *, expected: bool) -> None:
    assert rounding.choose_rounding(how, torch.optim.AdamW, [torch.ones(2, dtype=dtype)]) is expected


def test_an_optimizer_that_rounds_by_itself_is_left_alone() -> None:
    class Own(torch.optim.AdamW):
        """As one of torchao."""

    Own.__module__ = "torchao.optim.adam"
    weights = [torch.ones(2, dtype=torch.bfloat16)]
    assert not rounding.choose_rounding("auto", partial(Own, lr=1.0), weights)
    assert rounding.choose_rounding(True, partial(Own, lr=1.0), weights)
