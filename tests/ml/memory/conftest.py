from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

VOCABULARY = 128


class Trained(NamedTuple):
    """The losses of a few steps, and the weights after them."""

    losses: list[float]
    weights: dict[str, Any]


@pytest.fixture
def llama() -> Callable[..., Any]:
    """A function that makes a tiny llama, always with the same weights; its embeddings are tied."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def made(**settings: Any) -> Any:
        torch.manual_seed(0)
        shape = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
        config = transformers.LlamaConfig(**{**shape, **heads, "attn_implementation": "sdpa", **settings})
        return transformers.LlamaForCausalLM(config).train()

    return made


@pytest.fixture
def loss_of() -> Callable[..., Any]:
    """The mean loss of a model on the batch of a step, which depends on the number of the step alone."""
    torch = pytest.importorskip("torch")

    def loss(model: Any, step: int, length: int = 24) -> Any:
        generator = torch.Generator().manual_seed(step)
        tokens = torch.randint(0, VOCABULARY, (2, length), generator=generator)
        logits = model(input_ids=tokens, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())

    return loss


@pytest.fixture
def gradients(loss_of: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """A function for the gradients of one step."""

    def taken(model: Any, step: int = 0, length: int = 24) -> dict[str, Any]:
        model.zero_grad()
        loss_of(model, step, length).backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    return taken


@pytest.fixture
def train(loss_of: Callable[..., Any]) -> Callable[..., Trained]:
    """A function that takes a few steps; `around` is the context of a forward pass."""

    def trained(
        model: Any,
        optimizer: Any,
        steps: range = range(3),
        *,
        fused: bool = False,
        around: Any = None,
        schedule: Any = None,
    ) -> Trained:
        losses = []
        for step in steps:
            if around is None:
                loss = loss_of(model, step)
            else:
                with around():
                    loss = loss_of(model, step)
            losses.append(loss.item())
            loss.backward()
            if not fused:
                optimizer.step()
                optimizer.zero_grad()
            if schedule is not None:
                schedule.step()
        return Trained(losses, {name: value.clone() for name, value in model.state_dict().items()})

    return trained


@pytest.fixture
def same() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    """A function that says whether two sets of tensors are equal, bit for bit."""
    torch = pytest.importorskip("torch")
    return lambda one, other: list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
