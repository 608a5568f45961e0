from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")
smoke = pytest.importorskip("forge.ml.models.smoke")
simulation = pytest.importorskip("forge.ml.models.simulation")

SETTINGS = {"batch_size": 2, "sequence": 16, "optimizer": partial(torch.optim.AdamW, lr=0.01)}


def _model() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=200, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    return causal.causal_lm(config)


def test_a_step_on_random_tokens_lowers_the_loss() -> None:
    said: list[str] = []
    found = smoke.smoke_step(_model(), simulation.StepSettings(**SETTINGS), said.append)
    assert [line.split(":")[0] for line in said] == [
        "forward",
        "backward",
        "optimizer step",
        "forward again, for the loss after the step",
    ]
    assert found.problems == []
    assert found.loss == pytest.approx(math.log(200), abs=0.2)
    assert found.guess == pytest.approx(math.log(200))
    assert found.loss_after < found.loss
    assert found.gradient_norm > 0
    assert set(found.seconds) == {"forward", "backward", "optimizer"}
    assert found.peak > 1 << 20
    assert found.described == "cpu: 2 x 16 tokens, AdamW"


def test_a_step_is_the_same_each_time() -> None:
    first, second = (smoke.smoke_step(_model(), simulation.StepSettings(**SETTINGS)) for _ in range(2))
    assert (first.loss, first.loss_after) == (second.loss, second.loss_after)


def test_checkpoints_and_rounding_are_taken_from_the_settings() -> None:
    plain = smoke.smoke_step(_model(), simulation.StepSettings(**SETTINGS))
    checkpointed = smoke.smoke_step(_model(), simulation.StepSettings(**SETTINGS, gradient_checkpointing=True))
    assert (plain.loss, plain.gradient_norm) == (checkpointed.loss, checkpointed.gradient_norm)
    rounded = smoke.smoke_step(
        _model().to(torch.bfloat16), simulation.StepSettings(**SETTINGS, stochastic_rounding=True)
    )
    assert rounded.problems == []


def test_a_weight_that_is_not_finite_is_found() -> None:
    model = _model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    found = smoke.smoke_step(model, simulation.StepSettings(**SETTINGS))
    assert "not finite: the loss before the step" in found.problems
    assert found.problems[0].startswith("not finite: the gradient of model.embed_tokens.weight, and ")


def test_a_step_that_breaks_the_weights_is_found() -> None:
    settings = simulation.StepSettings(**SETTINGS | {"optimizer": partial(torch.optim.SGD, lr=math.inf)})
    found = smoke.smoke_step(_model(), settings)
    assert found.problems[0].startswith("not finite: the weight after the step of ")
    assert "not finite: the loss after the step" in found.problems
    assert math.isfinite(found.loss)
