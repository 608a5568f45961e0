"""An optimizer inside the backward pass does what it does after it, with one gradient alive."""

from __future__ import annotations

import copy
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
fused = pytest.importorskip("forge.ml.memory.fused")
clip = pytest.importorskip("forge.ml.optim.clip")
groups = pytest.importorskip("forge.ml.optim.groups")
muon = pytest.importorskip("forge.ml.optim.muon")
rounding = pytest.importorskip("forge.ml.optim.rounding")

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adamw": partial(torch.optim.AdamW, lr=1e-3, fused=True),
    "adafactor": partial(torch.optim.Adafactor, lr=1e-2),
    "muon": partial(muon.Muon, lr=1e-3),
    "sgd": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    "bf16": partial(rounding.StochasticRounding, optimizer=partial(torch.optim.AdamW, lr=1e-3)),
}


@pytest.fixture(autouse=True)
def _as_written() -> Iterator[None]:
    """The low-bit optimizers compile their step, which takes seconds and is tested where they are."""
    with torch.compiler.set_stance("force_eager"):
        yield


def _low_bit(name: str) -> Callable[..., Any]:
    return partial(getattr(pytest.importorskip("torchao.optim"), name), lr=1e-3)


def _halved(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)


@pytest.fixture
def made(llama: Any) -> Callable[[str], tuple[Any, Any]]:
    """A function that makes a model and its optimizer."""

    def pair(name: str) -> tuple[Any, Any]:
        model = llama().to(torch.bfloat16 if name == "bf16" else torch.float32)
        optimizer = OPTIMIZERS[name] if name in OPTIMIZERS else _low_bit(name)
        return model, optimizer(groups.parameter_groups(model))

    return pair


@pytest.mark.parametrize("name", [*OPTIMIZERS, "AdamW8bit", "AdamW4bit"])
def test_it_trains_as_the_optimizer_does_afterwards_bit_for_bit(made: Any, train: Any, same: Any, name: str) -> None:
    model, optimizer = made(name)
    plain = train(model, optimizer, range(4), schedule=_halved(optimizer))
    model, optimizer = made(name)
    fused.FusedBackward(optimizer)
    inside = train(model, optimizer, range(4), fused=True, schedule=_halved(optimizer))
    assert inside.losses == plain.losses
    assert same(inside.weights, plain.weights)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", [*OPTIMIZERS, "AdamW8bit"])
@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
def test_a_checkpoint_is_read_by_the_other_kind(
    made: Any, train: Any, same: Any, name: str, before: object, after: object
) -> None:
    model, optimizer = made(name)
    whole = train(model, optimizer, range(5))
    model, optimizer = made(name)
    if before:
        fused.FusedBackward(optimizer)
    train(model, optimizer, range(2), fused=before)
    weights, state = copy.deepcopy(model.state_dict()), optimizer.state_dict()
    model, optimizer = made(name)
    if after:
        fused.FusedBackward(optimizer)
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    rest = train(model, optimizer, range(2, 5), fused=after)
    assert rest.losses == whole.losses[2:]
    assert same(rest.weights, whole.weights)


def test_one_gradient_is_alive_at_a_time(made: Any, loss_of: Any) -> None:
    model, optimizer = made("adamw")
    seen: list[Any] = []
    alive: list[int] = []

    def watch(parameter: Any) -> None:
        seen.append(weakref.ref(parameter.grad))
        alive.append(sum(gradient() is not None for gradient in seen))

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(watch)
    fused.FusedBackward(optimizer)
    loss_of(model, 0).backward()
    # The embedding is the head too: its gradient comes once, as the sum of both.
    assert alive == [1] * len(list(model.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_without_it_every_gradient_is_alive_in_the_end(made: Any, loss_of: Any) -> None:
    model, _ = made("adamw")
    loss_of(model, 0).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_clipping_by_value_is_that_of_all_gradients(made: Any, train: Any, loss_of: Any, same: Any) -> None:
    model, optimizer = made("sgd")
    for step in range(3):
        loss_of(model, step).backward()
        clip.clip_(model.parameters(), max_value=1e-3)
        optimizer.step()
        optimizer.zero_grad()
    clipped = model.state_dict()
    model, optimizer = made("sgd")
    fused.FusedBackward(optimizer, max_grad_value=1e-3)
    assert same(train(model, optimizer, range(3), fused=True).weights, clipped)


def test_the_norm_of_the_gradients_is_known_afterwards(made: Any, loss_of: Any) -> None:
    model, optimizer = made("sgd")
    loss_of(model, 0).backward()
    norm = clip.clip_(model.parameters())
    model, optimizer = made("sgd")
    inside = fused.FusedBackward(optimizer, max_grad_value=1e-3)
    loss_of(model, 0).backward()
    torch.testing.assert_close(inside.norm(), norm)
    assert inside.norm() == 0


def test_removed_it_leaves_the_gradients_alone(made: Any, loss_of: Any) -> None:
    model, optimizer = made("sgd")
    fused.FusedBackward(optimizer).remove()
    before = copy.deepcopy(model.state_dict())
    loss_of(model, 0).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_grad_norm": 1.0}, "set max_grad_norm to null, or clip by value"),
        ({"gradient_accumulation_steps": 2}, "set gradient_accumulation_steps to 1"),
        ({"scaler": object()}, "fp16"),
        ({"max_grad_value": 0.0}, "max_grad_value is above 0"),
    ],
)
def test_what_needs_all_gradients_is_refused(made: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fused.FusedBackward(made("sgd")[1], **settings)


def test_an_optimizer_that_moves_all_together_is_refused() -> None:
    with pytest.raises(ValueError, match="LBFGS"):
        fused.FusedBackward(torch.optim.LBFGS([torch.nn.Parameter(torch.ones(1))]))
