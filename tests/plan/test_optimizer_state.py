from __future__ import annotations

from typing import Any

import pytest

from forge.plan.optimizer_state import OptimizerPlan, optimizer_plan

MATRIX = (256, 512, 2, True)
VECTOR = (1, 512, 1, True)
EMBEDDING = (1024, 512, 1, False)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (OptimizerPlan("adamw"), 2 * 4 * 256 * 512 * 2),
        (OptimizerPlan("sgd"), 4 * 256 * 512 * 2),
        (OptimizerPlan("sgd", momentum=False), 0),
        (OptimizerPlan("adafactor"), 4 * (256 + 512) * 2),
        (OptimizerPlan("muon"), 4 * 256 * 512 * 2),
        (OptimizerPlan("adamw_8bit", block=256), 2 * 256 * 512 * 2 * (1 + 4 / 256)),
        (OptimizerPlan("adamw_4bit", block=128), 2 * 256 * 512 * 2 * (0.5 + 4 / 128)),
    ],
)
def test_what_each_remembers_of_matrices(plan: OptimizerPlan, expected: float) -> None:
    assert plan.state_bytes([MATRIX], 4) == expected


def test_vectors_and_embeddings_are_remembered_in_another_way() -> None:
    assert OptimizerPlan("adafactor").state_bytes([VECTOR], 2) == 4 * 512
    assert OptimizerPlan("muon").state_bytes([EMBEDDING], 4) == 2 * 4 * 1024 * 512
    assert OptimizerPlan("adamw_8bit").state_bytes([VECTOR], 4) == 2 * 4 * 512  # too small for a scale


def test_what_a_step_needs_besides() -> None:
    assert OptimizerPlan("adamw").step_bytes(1000, rounding=False) == 0
    assert OptimizerPlan("adamw", one_kernel=False).step_bytes(1000, rounding=False) == 8000
    assert OptimizerPlan("adafactor", one_kernel=False).step_bytes(1000, rounding=True) == 4 * 4 * 1000


@pytest.mark.parametrize(
    ("target", "settings", "plan"),
    [
        ("torch.optim.AdamW", {"fused": True}, OptimizerPlan("adamw", momentum=False)),
        ("torchao.optim.AdamW4bit", {"block_size": 128}, OptimizerPlan("adamw_4bit", False, 128, False)),
        ("torch.optim.SGD", {"momentum": 0.9}, OptimizerPlan("sgd", one_kernel=False)),
    ],
)
def test_an_optimizer_of_a_config(target: str, settings: dict[str, Any], plan: OptimizerPlan) -> None:
    assert optimizer_plan(target, settings) == plan


def test_an_optimizer_that_nobody_knows_is_said() -> None:
    with pytest.raises(ValueError, match=r"nothing is known of the memory of my\.Lion"):
        optimizer_plan("my.Lion", {})


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["adamw", "sgd", "adafactor", "muon"])
def test_the_state_is_that_of_torch(kind: Any) -> None:
    import torch

    from forge.ml.optim.muon import Muon

    made = {
        "adamw": lambda named: torch.optim.AdamW(named, fused=True),
        "sgd": lambda named: torch.optim.SGD(named, momentum=0.9),
        "adafactor": torch.optim.Adafactor,
        "muon": Muon,
    }[kind]
    named = [
        ("a.weight", torch.nn.Parameter(torch.ones(64, 96))),
        ("embed.weight", torch.nn.Parameter(torch.ones(32, 64))),
    ]
    named.append(("norm", torch.nn.Parameter(torch.ones(64))))
    for _, parameter in named:
        parameter.grad = torch.ones_like(parameter)
    optimizer = made(named)
    optimizer.step()
    tensors = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]
    measured = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.numel() > 1)
    matrices = [(64, 96, 1, True), (32, 64, 1, False), (1, 64, 1, True)]
    assert OptimizerPlan(kind).state_bytes(matrices, 4) == measured
