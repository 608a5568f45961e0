"""Cross entropy of a linear head equals the plain one, whatever the chunks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
linear = pytest.importorskip("forge.ml.loss.linear")


def _case(tokens: int, width: int, classes: int, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=generator).requires_grad_()
    # Logits of about one: where a token is almost sure, float32 itself knows its gradient to few digits.
    weight = (torch.randn(classes, width, generator=generator) * width**-0.5).requires_grad_()
    bias = torch.randn(classes, generator=generator).requires_grad_()
    return hidden, weight, bias, torch.randint(classes, (tokens,), generator=generator)


def _plain(hidden: Any, weight: Any, bias: Any, targets: Any) -> Any:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def _error(one: Any, other: Any) -> float:
    return float((one - other).norm() / other.norm().clamp_min(1e-30)) if one.numel() else 0.0


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(1, 40),
    width=st.integers(1, 33),
    classes=st.integers(2, 130),
    rows=st.integers(1, 45),
    with_bias=st.booleans(),
)
def test_loss_and_gradients_are_those_of_whole_logits(
    tokens: int, width: int, classes: int, rows: int, *, with_bias: bool
) -> None:
    hidden, weight, bias, targets = _case(tokens, width, classes, seed=tokens)
    trained = [hidden, weight, bias] if with_bias else [hidden, weight]
    offset = bias if with_bias else None
    mine = linear.linear_cross_entropy(hidden, weight, offset, targets, rows=rows)
    plain = _plain(hidden, weight, offset, targets)
    assert mine.dtype == torch.float32
    assert _error(mine.detach(), plain.detach()) < 1e-6
    ours, theirs = torch.autograd.grad(mine / 7, trained), torch.autograd.grad(plain / 7, trained)
    wide = [None if each is None else each.detach().double().requires_grad_() for each in (hidden, weight, offset)]
    exact = torch.autograd.grad(_plain(*wide, targets) / 7, [each for each in wide if each is not None])
    for one, other, true in zip(ours, theirs, exact, strict=True):
        # Where terms cancel, float32 knows a gradient to fewer digits, and the plain way no better.
        assert _error(one, true) < 1e-6 + 2 * _error(other, true)


def test_parts_of_a_chunk_are_as_good_as_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _, targets = _case(50, 8, 100)
    monkeypatch.setitem(linear._PART_BYTES, "cpu", 3 * 100 * 4)
    mine = linear.linear_cross_entropy(hidden, weight, None, targets, rows=17)
    plain = _plain(hidden, weight, None, targets)
    ours, theirs = (torch.autograd.grad(loss, [hidden, weight]) for loss in (mine, plain))
    assert _error(mine.detach(), plain.detach()) < 1e-6
    assert max(_error(one, other) for one, other in zip(ours, theirs, strict=True)) < 2e-6


def test_without_a_token_the_loss_is_nought_and_so_are_the_gradients() -> None:
    hidden, weight, _, targets = _case(0, 8, 10)
    loss = linear.linear_cross_entropy(hidden, weight, None, targets)
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad.shape == (0, 8)
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_a_frozen_head_has_no_gradient() -> None:
    hidden, weight, _, targets = _case(9, 8, 10)
    frozen = weight.detach()
    loss = linear.linear_cross_entropy(hidden, frozen, None, targets, rows=4)
    loss.backward()
    assert loss.grad_fn is not None
    assert frozen.grad is None
    assert _error(hidden.grad, torch.autograd.grad(_plain(hidden, frozen, None, targets), hidden)[0]) < 2e-6


def test_nothing_is_kept_where_nothing_is_differentiated() -> None:
    hidden, weight, _, targets = _case(9, 8, 10)
    with torch.no_grad():
        loss = linear.linear_cross_entropy(hidden, weight, None, targets, rows=4)
    assert not loss.requires_grad
    assert _error(loss, _plain(hidden, weight, None, targets).detach()) < 1e-6


def test_it_can_be_differentiated_once() -> None:
    hidden, weight, _, targets = _case(9, 8, 10)
    loss = linear.linear_cross_entropy(hidden, weight, None, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        loss.backward()


@pytest.mark.parametrize("rows", [7, 64])
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_as_exact_as_the_plain_way_in_it(rows: int, *, autocast: bool) -> None:
    hidden, weight, _, targets = _case(64, 32, 500)
    dtype = torch.float32 if autocast else torch.bfloat16
    low = [each.detach().to(dtype).requires_grad_() for each in (hidden, weight)]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = [linear.linear_cross_entropy(*low, None, targets, rows=rows), _plain(*low, None, targets)]
    exact = torch.autograd.grad(_plain(hidden, weight, None, targets), [hidden, weight])
    ours, theirs = (torch.autograd.grad(loss, low) for loss in losses)
    for mine, plain, true in zip(ours, theirs, exact, strict=True):
        assert mine.dtype == dtype
        assert _error(mine.float(), true) < 1.5 * _error(
            plain.float(), true
        )  # it is rounded once more when it is scaled


def test_chunks_hold_as_many_rows_as_their_bytes_allow() -> None:
    assert linear.chunk_rows(1 << 20) == linear.CHUNK_BYTES >> 20
    assert linear.chunk_rows(1 << 40) == 16


def test_rows_that_only_fill_up_change_nothing() -> None:
    torch.manual_seed(3)
    hidden, weight = torch.randn(7, 6, requires_grad=True), torch.randn(11, 6, requires_grad=True)
    targets = torch.tensor([1, -100, 3, 10, -100, 0, 5])
    kept = targets >= 0
    loss = linear.linear_cross_entropy(hidden, weight, None, targets)
    found = torch.autograd.grad(loss, (hidden, weight))
    alone = linear.linear_cross_entropy(hidden[kept], weight, None, targets[kept])
    expected = torch.autograd.grad(alone, (hidden, weight))
    torch.testing.assert_close(loss, alone)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
