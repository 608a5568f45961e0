"""Which parameters decay."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
groups = pytest.importorskip("forge.ml.optim.groups")


def _model() -> torch.nn.Module:
    return torch.nn.ModuleDict(
        {"embed": torch.nn.Embedding(8, 4), "norm": torch.nn.LayerNorm(4), "linear": torch.nn.Linear(4, 4)}
    )


def _names(group: dict) -> set[str]:
    return {name for name, _ in group["params"]}


def test_matrices_decay_and_vectors_do_not() -> None:
    decayed, kept = groups.parameter_groups(_model())
    assert _names(decayed) == {"embed.weight", "linear.weight"}
    assert _names(kept) == {"norm.weight", "norm.bias", "linear.bias"}
    assert "weight_decay" not in decayed
    assert kept["weight_decay"] == 0.0


def test_a_frozen_parameter_is_left_out() -> None:
    model = _model()
    model["embed"].requires_grad_(requires_grad=False)
    assert _names(groups.parameter_groups(model)[0]) == {"linear.weight"}


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(groups.parameter_groups(torch.nn.Linear(4, 4, bias=False))) == 1


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="every one of them is frozen"):
        groups.parameter_groups(_model().requires_grad_(requires_grad=False))


def test_the_decay_of_the_optimizer_reaches_matrices_alone() -> None:
    optimizer = torch.optim.AdamW(groups.parameter_groups(_model()), weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
