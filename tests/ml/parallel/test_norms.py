"""The norm of all gradients; tests/layouts holds it against that of one process on every layout."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel import norms  # noqa: E402 - torch may be missing
from forge.ml.parallel.world import World  # noqa: E402 - as above


def test_the_order_of_the_gradients_is_of_no_matter() -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(7, 11) * 10**-number for number in range(5)] * 9
    orders = [torch.randperm(len(gradients)).tolist() for _ in range(50)]
    (only,) = {norms.total_norm([gradients[one] for one in order]).item() for order in orders}
    assert only == pytest.approx(torch.nn.utils.get_total_norm(gradients).item(), rel=1e-6)


def test_what_is_held_coarsely_is_added_up_finely() -> None:
    gradients = [torch.full((1000,), 0.1, dtype=torch.bfloat16), torch.full((3,), 2.0), torch.zeros(0)]
    exact = torch.cat([gradient.double() for gradient in gradients]).norm().item()
    assert norms.total_norm(gradients).dtype == torch.float32
    assert norms.total_norm(gradients).item() == pytest.approx(exact, rel=1e-6)


def test_in_one_process_it_is_that_of_torch() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert norms.total_norm(gradients).item() == 5.0
    assert norms.total_norm(gradients, World(torch.device("cpu"))).item() == 5.0
