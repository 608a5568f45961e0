"""The operator that attends inside documents; tests/ml/models/test_attention.py has models that use it."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.models.documents import attend_documents  # noqa: E402 - torch may be missing


def test_gradients_of_the_kernel() -> None:
    torch.manual_seed(0)
    bounds = torch.tensor([0, 3, 4, 11, 11, 12])
    for window in (0, 2):
        q = torch.randn(12, 4, 8, dtype=torch.float64, requires_grad=True)
        k, v = (torch.randn(12, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
        torch.autograd.gradcheck(lambda *x, w=window: attend_documents(*x, bounds, w, 0.3)[0], (q, k, v), atol=1e-4)


def test_the_operator_is_registered_as_torch_wants_it() -> None:
    q, k, v = (torch.randn(12, 2, 8, requires_grad=True) for _ in range(3))
    bounds = torch.tensor([0, 5, 12])
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(attend_documents, (q, k, v, bounds, 0, 0.3), test_utils=checks)


@pytest.mark.parametrize("window", [0, 40, 200])
def test_in_bfloat16_gradients_are_those_of_float32_but_for_rounding(window: int) -> None:
    torch.manual_seed(0)
    # What sees no more than 256 tokens is differentiated in float32, and the rest, which only the one of 300 has, in bfloat16.
    lengths = [1, 70, 256, 300, 33]
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    rounded = [torch.randn(sum(lengths), heads, 16).bfloat16() for heads in (4, 2, 2, 4)]

    def gradients(kind: torch.dtype) -> tuple[torch.Tensor, ...]:
        *given, slope = (each.to(kind) for each in rounded)
        for each in given:
            each.requires_grad_()
        answers, _ = attend_documents(*given, bounds, window, 0.25)
        found = torch.autograd.grad(answers, given, slope)
        assert all(each.dtype == kind for each in found)
        return found

    for mine, exact in zip(gradients(torch.bfloat16), gradients(torch.float32), strict=True):
        # One document by one, for one that got none would hide among the others.
        for first, last in pairwise(bounds.tolist()):
            near = exact[first:last]
            assert (mine[first:last].float() - near).norm() <= 0.01 * near.norm() + 1e-4
