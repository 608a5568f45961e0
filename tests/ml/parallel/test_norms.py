"""The norm of all gradients; tests/layouts holds it against that of one process on every layout."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel import norms  # noqa: E402 - torch may be missing
from forge.ml.parallel.world import World  # noqa: E402 - as above


def test_in_one_process_it_is_that_of_torch() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert norms.total_norm(gradients).item() == 5.0
    assert norms.total_norm(gradients, World(torch.device("cpu"))).item() == 5.0
