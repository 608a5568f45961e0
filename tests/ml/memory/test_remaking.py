"""Results that are made again: what is kept, what comes out, and that no tensor is taken for another one."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - torch may be missing

from forge.ml.memory.remaking import cast_offered, kept_elsewhere, offer, remake_in  # noqa: E402 - as above


class Block(nn.Module):
    """Doubles, and multiplies by a matrix, which keeps the doubled."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.matrix = nn.Linear(4, 4, bias=False)
        self.asked = 0
        self.doubled: Any = None

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        result = 2 * given
        self.doubled = weakref.ref(result.untyped_storage())
        offer(result, partial(self.again, given.detach()))
        return self.then(result)

    def then(self, result: torch.Tensor) -> torch.Tensor:
        return self.matrix(result)

    def again(self, given: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
        self.asked += 1
        return (2 * given).to(kind)


def outcome(block: Block) -> list[torch.Tensor]:
    """What it computes, and its gradients."""
    torch.manual_seed(1)
    given = torch.randn(3, 5, 4, requires_grad=True)
    result = block(given)
    return [result, *torch.autograd.grad(result.sin().sum(), [given, *block.parameters()])]


def same(block: Block) -> bool:
    """Whether it computes what it computed before it made anything again."""
    wanted = outcome(block)
    remake_in(block)
    assert block.asked == 0
    return all(map(torch.equal, outcome(block), wanted))


def test_a_result_is_made_again_and_not_kept() -> None:
    block = Block()
    assert same(block)
    assert block.asked == 1
    kept = block(torch.randn(3, 5, 4, requires_grad=True))
    assert block.doubled() is None
    del kept


def test_who_keeps_it_otherwise_is_not_disturbed() -> None:
    block = Block()
    remake_in(block)
    with kept_elsewhere():
        kept = block(torch.randn(2, 4, requires_grad=True))
    assert block.doubled() is not None
    kept.sum().backward()
    assert block.asked == 0


def test_without_gradients_nothing_is_noted() -> None:
    block = Block()
    remake_in(block)
    with torch.no_grad():
        block(torch.randn(2, 4))
    assert block.asked == 0


class Casting(Block):
    """It multiplies in another type, twice; each time what it casts is another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = self.matrix.to(torch.bfloat16)
        self.casts: list[Any] = []

    def then(self, result: torch.Tensor) -> torch.Tensor:
        casts = [cast_offered(result, torch.bfloat16) for _ in range(2)]
        self.casts = [weakref.ref(cast.untyped_storage()) for cast in casts]
        return sum(self.matrix(cast.to(torch.bfloat16)).float() for cast in casts)


def test_a_cast_of_it_is_made_again_too() -> None:
    block = Casting()
    assert same(block)
    assert block.asked == 2
    kept = block(torch.randn(3, 5, 4, requires_grad=True))
    assert {one() for one in (block.doubled, *block.casts)} == {None}
    del kept


def test_what_was_not_offered_is_not_cast() -> None:
    given = torch.randn(2, 4)
    assert cast_offered(given, torch.bfloat16) is given


class Changing(Block):
    """It changes what it had offered, before it is kept."""

    def then(self, result: torch.Tensor) -> torch.Tensor:
        return self.matrix(result.mul_(3))


class Part(Block):
    """It keeps a part of it, and all of it turned."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 4, bias=False)

    def then(self, result: torch.Tensor) -> torch.Tensor:
        return self.matrix(result.transpose(0, 1)).sum(0) + self.other(result[:, :, 1:]).sum(1)


class Passing(Block):
    """It forgets what it had offered, so that the next tensor may lie where that lay."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        offer(2 * given, partial(self.again, given.detach()))
        return self.matrix(torch.ones(given.shape)) + given


@pytest.mark.parametrize("kind", [Changing, Part, Passing])
def test_no_tensor_is_taken_for_what_was_offered(kind: type[Block]) -> None:
    block = kind()
    assert same(block)
    assert block.asked == 0


def test_nothing_outlives_the_backward_pass() -> None:
    block = Block()
    remake_in(block)
    given = torch.randn(3, 4, requires_grad=True)
    result = block(given)
    kept = weakref.ref(given.untyped_storage())  # by what would make it again
    gc.disable()
    try:
        result.sum().backward()
        del result, given
        assert kept() is None
    finally:
        gc.enable()
