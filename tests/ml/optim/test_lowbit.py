"""Quantized optimizer state as plain tensors and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [
    pytest.mark.torch,
    # The low-bit optimizers compile their step, and the compiler of torch uses what torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
torch = pytest.importorskip("torch")
lowbit = pytest.importorskip("forge.ml.optim.lowbit")
groups = pytest.importorskip("forge.ml.optim.groups")
rounding = pytest.importorskip("forge.ml.optim.rounding")


def _model(dtype: Any) -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Tanh(), torch.nn.Linear(128, 64)).to(dtype)


def _optimizer(name: str, model: Any) -> Any:
    kind = getattr(pytest.importorskip("torchao.optim"), name)
    if next(model.parameters()).dtype == torch.bfloat16:
        return rounding.StochasticRounding(groups.parameter_groups(model), 1e-2, optimizer=kind)
    return kind(groups.parameter_groups(model), lr=1e-2)


def _steps(model: Any, optimizer: Any, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(8, 64, generator=torch.Generator().manual_seed(step)).to(model[0].weight.dtype)
        (model(inputs) - inputs).float().pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


def test_ordinary_state_stays_as_it_is() -> None:
    model = _model(torch.float32)
    optimizer = torch.optim.AdamW(groups.parameter_groups(model))
    _steps(model, optimizer, range(1))
    state = optimizer.state_dict()
    there = lowbit.to_plain(state)
    assert [id(leaf) for leaf in _leaves(lowbit.from_plain(there))] == [id(leaf) for leaf in _leaves(state)]


@pytest.mark.parametrize("name", ["AdamW8bit", "AdamW4bit", "AdamWFp8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stored_state_goes_on_as_if_it_had_never_stopped(name: str, dtype: Any) -> None:
    whole = _model(dtype)
    _steps(whole, _optimizer(name, whole), range(4))
    model = _model(dtype)
    optimizer = _optimizer(name, model)
    _steps(model, optimizer, range(2))
    plain = lowbit.to_plain(optimizer.state_dict())
    leaves = _leaves(plain)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    assert {type(tensor) for tensor in tensors} == {torch.Tensor}
    json.dumps([leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)])
    twin = _model(dtype)
    twin.load_state_dict(model.state_dict())
    restored = _optimizer(name, twin)
    restored.load_state_dict(lowbit.from_plain(plain))
    _steps(twin, restored, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(("name", "share"), [("AdamW8bit", 0.3), ("AdamW4bit", 0.2)])
def test_the_state_is_a_fraction_of_float32(name: str, share: float) -> None:
    model = _model(torch.float32)
    optimizer = _optimizer(name, model)
    _steps(model, optimizer, range(1))
    stored = [leaf for leaf in _leaves(lowbit.to_plain(optimizer.state_dict())) if isinstance(leaf, torch.Tensor)]
    # The maps from codes to values are a kilobyte each, which counts only in a model as small as this one.
    values = sum(tensor.nbytes for tensor in stored if tensor.numel() not in (16, 256))
    assert values < share * 2 * sum(parameter.nbytes for parameter in model.parameters())
