"""The operator that attends inside documents; tests/ml/models/test_attention.py has models that use it."""

from __future__ import annotations

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
