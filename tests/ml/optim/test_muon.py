"""Muon and AdamW as one optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
muon = pytest.importorskip("forge.ml.optim.muon")
groups = pytest.importorskip("forge.ml.optim.groups")


class _Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(16, 8)
        self.hidden = torch.nn.Linear(8, 8)
        self.lm_head = torch.nn.Linear(8, 16, bias=False)

    def forward(self, tokens: Any) -> Any:
        return self.lm_head(self.hidden(self.embed_tokens(tokens)))


def _model() -> Any:
    torch.manual_seed(0)
    return _Model()


def _step(model: Any, optimizer: Any) -> None:
    tokens = torch.arange(16)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(tokens), tokens).backward()
    optimizer.step()


def _names(optimizer: Any, part: str) -> set[str]:
    return {name for group in optimizer.param_groups if group["part"] == part for name in group["param_names"]}


def test_hidden_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    optimizer = muon.Muon(groups.parameter_groups(_model()))
    assert _names(optimizer, "muon") == {"hidden.weight"}
    assert _names(optimizer, "adamw") == {"embed_tokens.weight", "hidden.bias", "lm_head.weight"}


def test_each_part_moves_its_parameters_as_the_optimizer_it_stands_for() -> None:
    model, twin = _model(), _model()
    optimizer = muon.Muon(groups.parameter_groups(model), lr=0.01, weight_decay=0.1)
    alone = torch.optim.Muon([twin.hidden.weight], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    matrices = {"params": [twin.embed_tokens.weight, twin.lm_head.weight]}
    vectors = {"params": [twin.hidden.bias], "weight_decay": 0.0}
    others = torch.optim.AdamW([matrices, vectors], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(3):
        _step(model, optimizer)
        tokens = torch.arange(16)
        twin.zero_grad()
        torch.nn.functional.cross_entropy(twin(tokens), tokens).backward()
        alone.step()
        others.step()
    for mine, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, expected)


def test_a_scheduler_reaches_both_parts() -> None:
    model = _model()
    optimizer = muon.Muon(groups.parameter_groups(model), lr=0.1, weight_decay=0.0)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.0)
    before = copy.deepcopy(model.state_dict())
    _step(model, optimizer)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_restored_optimizer_goes_on_as_if_it_had_never_stopped() -> None:
    model = _model()
    optimizer = muon.Muon(groups.parameter_groups(model), lr=0.01)
    _step(model, optimizer)
    twin = _model()
    twin.load_state_dict(model.state_dict())
    restored = muon.Muon(groups.parameter_groups(twin), lr=0.5)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(2):
        _step(model, optimizer)
        _step(twin, restored)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_parameters_without_names_are_refused() -> None:
    with pytest.raises(TypeError, match="named parameters"):
        muon.Muon(_model().parameters())


def test_named_parameters_need_no_groups() -> None:
    model = _model()
    optimizer = muon.Muon(model.named_parameters())
    _step(model, optimizer)
    assert _names(optimizer, "muon") == {"hidden.weight"}
