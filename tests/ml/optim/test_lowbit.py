"""The 8-bit and 4-bit optimizers of torchao through a checkpoint's own packing: plain tensors and JSON, and back."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.torch,
    # The low-bit optimizers compile their step, and the compiler of torch uses what torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
state = pytest.importorskip("forge.ml.checkpoint.state")
groups = pytest.importorskip("forge.ml.optim.groups")
rounding = pytest.importorskip("forge.ml.optim.rounding")


@pytest.fixture(autouse=True)
def _as_written(request: pytest.FixtureRequest) -> Iterator[None]:
    """The step of one of them is compiled, as in a run; the others do the same as it is written, which takes no compiler its ten seconds."""
    compiled = request.node.callspec.params == {"name": "AdamW8bit", "dtype": torch.float32}
    with torch.compiler.set_stance("default" if compiled else "force_eager"):
        yield


def _model(dtype: Any) -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Tanh(), torch.nn.Linear(128, 64)).to(dtype)


def _optimizer(name: str, model: Any) -> Any:
    kind = partial(getattr(pytest.importorskip("torchao.optim"), name), lr=1e-2)
    if next(model.parameters()).dtype == torch.bfloat16:
        return rounding.StochasticRounding(groups.parameter_groups(model), optimizer=kind)
    return kind(groups.parameter_groups(model))


def _steps(model: Any, optimizer: Any, steps: range) -> None:
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step, last_epoch=steps.start - 1)
    for step in steps:
        inputs = torch.randn(8, 64, generator=torch.Generator().manual_seed(step)).to(model[0].weight.dtype)
        (model(inputs) - inputs).float().pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


@pytest.mark.parametrize("name", ["AdamW8bit", "AdamW4bit", "AdamWFp8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stored_state_goes_on_as_if_it_had_never_stopped(name: str, dtype: Any) -> None:
    whole = _model(dtype)
    _steps(whole, _optimizer(name, whole), range(4))
    model = _model(dtype)
    optimizer = _optimizer(name, model)
    _steps(model, optimizer, range(2))
    tensors, tree = state.pack(optimizer.state_dict())
    stored = safetensors.load(safetensors.save({key: value.contiguous() for key, value in tensors.items()}))
    twin = _model(dtype)
    twin.load_state_dict(model.state_dict())
    restored = _optimizer(name, twin)
    restored.load_state_dict(state.unpack(stored, json.loads(json.dumps(tree))))
    _steps(twin, restored, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(("name", "share"), [("AdamW8bit", 0.3), ("AdamW4bit", 0.2)])
def test_the_state_is_a_fraction_of_float32(name: str, share: float) -> None:
    model = _model(torch.float32)
    optimizer = _optimizer(name, model)
    _steps(model, optimizer, range(1))
    tensors, _ = state.pack(optimizer.state_dict())
    # The maps from codes to values are a kilobyte each, which counts only in a model as small as this one.
    values = sum(tensor.nbytes for tensor in tensors.values() if tensor.numel() not in (16, 256))
    assert values < share * 2 * sum(parameter.nbytes for parameter in model.parameters())
