"""Cross entropy through any tail equals the plain one, whatever the chunks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
tail = pytest.importorskip("forge.ml.loss.tail")


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(0, 30), rows=st.integers(1, 33))
def test_loss_and_gradients_are_those_of_whole_logits(tokens: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, 8, generator=generator).requires_grad_()
    layer = torch.nn.Linear(8, 50)
    scale = torch.nn.Parameter(torch.tensor(0.7))
    unused = torch.nn.Parameter(torch.ones(3))
    trained = [*layer.parameters(), scale, unused]
    targets = torch.randint(50, (tokens,), generator=generator)

    def logits(rows_of_it: torch.Tensor) -> torch.Tensor:
        return torch.tanh(layer(rows_of_it) / 2) * 2 * scale

    mine = tail.tail_cross_entropy(hidden, targets, logits, trained, classes=50, rows=rows)
    plain = torch.nn.functional.cross_entropy(logits(hidden), targets, reduction="sum")
    torch.testing.assert_close(mine, plain, rtol=1e-6, atol=1e-6)
    ours = torch.autograd.grad(mine / 7, [hidden, *trained])
    theirs = torch.autograd.grad(plain / 7, [hidden, *trained], allow_unused=True, materialize_grads=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        alone = tail.tail_cross_entropy(hidden, targets, logits, trained, classes=50, rows=rows)
    assert not alone.requires_grad
    torch.testing.assert_close(alone, mine.detach(), rtol=1e-6, atol=1e-6)


def test_it_can_be_differentiated_once() -> None:
    hidden = torch.randn(3, 4).requires_grad_()
    loss = tail.tail_cross_entropy(hidden, torch.tensor([0, 1, 2]), lambda rows: rows, [], classes=4)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        loss.backward()
