"""Where a number that is not finite is said to come from."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
module = pytest.importorskip("forge.ml.train.callbacks.first_bad")
from forge.ml.data.batch import Batch  # noqa: E402 - behind the question whether torch is there

NAN, INF = float("nan"), float("inf")


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
        self.norm = torch.nn.LayerNorm(4)

    def forward(self, x: Any) -> Any:
        return x + self.down(self.up(self.norm(x)).relu())


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(16, 4)
        self.layers = torch.nn.ModuleList([Block(), Block()])
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(4, 16)

    def forward(self, ids: Any) -> Any:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return {"logits": self.head(self.drop(x))}


class Steep(torch.autograd.Function):
    """Finite forward, infinite backward."""

    @staticmethod
    def forward(_context: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(_context: Any, gradient: Any) -> Any:
        return gradient * INF


def batch(*tokens: int, trained: int = 1) -> Batch:
    ids = torch.tensor([tokens])
    return Batch(ids, ids, ids, None, len(tokens), trained)


def find(model: Any, *batches: Batch, loss: Any = None) -> Any:
    def total(given: Batch) -> Any:
        logits = model(given.input_ids)["logits"].float()
        return (loss or (lambda x: x.logsumexp(-1).sum()))(logits)

    return module.first_bad(model, batches, total, 0.5)


def spoil(layer: Any, change: Any) -> None:
    """Make a module give something else, whatever it is given."""
    forward = layer.forward
    layer.forward = lambda *given: change(forward(*given))


@pytest.mark.parametrize("wild", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["embed", "layers.0.norm", "layers.1.up", "layers.1.down", "head"])
def test_the_first_module_with_a_bad_output_is_named(name: str, wild: float) -> None:
    model = Model()
    spoil(model.get_submodule(name), lambda output: torch.cat([output[..., :-1], output[..., -1:] * wild], dim=-1))
    fault = find(model, batch(1, 2))
    assert (fault.kind, fault.module, fault.batch) == ("output", name, 0)
    assert fault.type == type(model.get_submodule(name)).__name__


def test_what_happens_between_the_modules_is_that_of_the_outer_one() -> None:
    model = Model()
    forward = model.layers[1].forward
    model.layers[1].forward = lambda x: forward(x) / 0
    assert find(model, batch(1, 2)).module == "layers.1"


def test_the_batch_that_brings_it_is_named() -> None:
    model = Model()
    model.embed.register_forward_hook(lambda _module, given, output: output * (NAN if 7 in given[0] else 1.0))
    fault = find(model, batch(1, 2), batch(3, 4), batch(5, 7), batch(7, 7))
    assert (fault.module, fault.batch) == ("embed", 2)
    assert find(model, batch(1, 2), batch(7, 7, trained=0)).kind == "unknown"


def test_an_overflow_shows_what_went_into_the_module() -> None:
    model = Model()
    with torch.no_grad():
        model.layers[0].down.weight.fill_(3e38)
        model.layers[0].up.bias.fill_(100.0)
    fault = find(model, batch(1, 2))
    assert fault.module == "layers.0.down"
    assert 90 < fault.largest_input < 110


def test_a_weight_that_was_bad_before_is_named_and_nothing_is_run() -> None:
    model = Model()
    with torch.no_grad():
        model.layers[1].up.weight[0, 0] = NAN
    fault = find(model, batch(1, 2), loss=lambda _: pytest.fail("the model was run"))
    assert (fault.kind, fault.module, fault.type) == ("weight", "layers.1.up.weight", "Linear")


def test_a_loss_that_is_bad_while_all_outputs_are_finite() -> None:
    assert find(Model(), batch(1, 2), loss=lambda logits: (logits - logits).sum().log()).kind == "loss"


@pytest.mark.parametrize("name", ["layers.0.norm", "layers.1.up", "layers.1.down", "head"])
def test_the_first_module_with_a_bad_gradient_is_named(name: str) -> None:
    model = Model()
    spoil(model.get_submodule(name), Steep.apply)
    fault = find(model, batch(1, 2))
    assert (fault.kind, fault.module, fault.batch) == ("gradient", name, 0)
    assert fault.largest_input is not None


def test_a_gradient_that_only_a_weight_shows() -> None:
    model = Model()
    spoil(model.embed, Steep.apply)
    fault = find(model, batch(1, 2))
    assert (fault.kind, fault.module, fault.type) == ("gradient", "embed.weight", "Embedding")


def test_a_checkpointed_block_is_looked_into() -> None:
    from torch.utils.checkpoint import checkpoint

    model = Model()
    spoil(model.layers[0].up, Steep.apply)
    inner = model.layers[0].forward
    model.layers[0].forward = lambda x: checkpoint(inner, x, use_reentrant=False)
    assert find(model, batch(1, 2)).module == "layers.0.up"


def test_neither_weights_gradients_random_numbers_nor_hooks_are_changed() -> None:
    model = Model()
    model(torch.tensor([[1]]))["logits"].sum().backward()
    before = [(weight.clone(), weight.grad.clone()) for weight in model.parameters()]
    state = torch.get_rng_state()
    assert find(model, batch(1, 2)).kind == "unknown"
    assert torch.equal(state, torch.get_rng_state())
    for weight, (value, gradient) in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, value)
        assert torch.equal(weight.grad, gradient)
    hooks = [layer._forward_hooks or layer._backward_hooks for layer in model.modules()]
    assert not any(hooks)
    assert model.training


def test_every_kind_has_its_sentence() -> None:
    texts = {
        kind: str(module.Fault(kind, "head", "Linear")) for kind in ("weight", "output", "loss", "gradient", "unknown")
    }
    assert len(set(texts.values())) == 5
    assert texts["output"] == "the output of head (Linear) is the first that is not finite"
