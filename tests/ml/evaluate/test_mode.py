"""A model that is used for a while and then trained on."""

from __future__ import annotations

import contextlib

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
mode = pytest.importorskip("forge.ml.evaluate.mode")


def test_every_module_is_as_it_was_afterwards_also_after_a_failure() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Sequential(torch.nn.Dropout(0.5)))
    model[1].eval()
    before = [module.training for module in model.modules()]
    given = torch.ones(100, requires_grad=True)
    with contextlib.suppress(KeyError), mode.evaluation_mode(model):
        found = model(given)
        assert torch.equal(found, given)
        assert not (found + 1).requires_grad
        raise KeyError
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()
