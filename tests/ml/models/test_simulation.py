from __future__ import annotations

from functools import partial
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")
causal = pytest.importorskip("forge.ml.models.causal")
simulation = pytest.importorskip("forge.ml.models.simulation")

HIDDEN, VOCABULARY, LAYERS = 64, 3000, 4


def _llama(**changes: Any) -> Any:
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 160,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return transformers.LlamaConfig(**settings | changes)


def _deferred(config: Any, **settings: Any) -> Any:
    with causal.deferred_weights():
        return causal.causal_lm(config, **settings)


def _simulated(config: Any = None, **settings: Any) -> Any:
    model = _deferred(config or _llama())
    return simulation.simulate_step(model, simulation.StepSettings(**{"batch_size": 2, "sequence": 32} | settings))


def test_what_is_always_there_is_exact() -> None:
    found, parameters = _simulated(), sum(one.numel() for one in _deferred(_llama()).parameters())
    assert (found.weights, found.gradients) == (4 * parameters, 4 * parameters)
    assert found.optimizer == 8 * parameters + 4 * len(list(_deferred(_llama()).parameters()))
    assert found.logits == 2 * 32 * VOCABULARY * 4
    assert found.problem is None


def test_a_tied_head_is_counted_once() -> None:
    untied, tied = _simulated(), _simulated(_llama(tie_word_embeddings=True))
    assert untied.weights - tied.weights == 4 * HIDDEN * VOCABULARY


def test_the_optimizer_is_the_one_of_the_config() -> None:
    adam, momentum = _simulated(), _simulated(optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    assert momentum.optimizer == momentum.weights
    assert _simulated(optimizer=partial(torch.optim.SGD, lr=0.1)).optimizer == 0
    assert adam.optimizer > momentum.optimizer


def test_the_phases_peak_where_they_have_to() -> None:
    found = _simulated(batch_size=8, sequence=128)
    always = found.weights + found.optimizer
    assert found.forward >= always + found.activations
    assert found.backward >= always + found.gradients
    assert found.step >= always + found.gradients


def test_activations_grow_with_the_tokens_alone() -> None:
    small, large = _simulated(batch_size=2, sequence=128), _simulated(batch_size=8, sequence=128)
    assert large.activations > 3 * small.activations
    assert (large.weights, large.gradients, large.optimizer) == (small.weights, small.gradients, small.optimizer)


@pytest.mark.slow
def test_each_part_of_the_memory_kit_is_seen() -> None:
    settings = {"batch_size": 8, "sequence": 256}
    plain, full, second, selective = (
        _simulated(**settings, gradient_checkpointing=how) for how in (False, True, 2, "selective")
    )
    assert full.activations < second.activations < plain.activations
    assert full.activations < selective.activations < plain.activations
    assert full.backward < plain.backward
    fused = _simulated(**settings, fuse_optim_with_backward=True)
    assert fused.gradients == 4 * HIDDEN * VOCABULARY
    assert fused.step < plain.step
    cast = _simulated(**settings, mixed_precision="bf16")
    assert cast.activations < plain.activations
    whole = _simulated(**settings, loss="logits")
    assert whole.activations > plain.activations + whole.logits / 2


def test_what_a_step_really_takes_is_what_was_said() -> None:
    settings = simulation.StepSettings(batch_size=4, sequence=64)
    said = simulation.simulate_step(_deferred(_llama()), settings)
    model = causal.materialise(_deferred(_llama()))
    optimizer = simulation.make_optimizer(model, settings)
    simulation._first_step(model, optimizer)
    with simulation._attention_of_a_kernel(model):
        took = simulation._run(model.train(), optimizer, settings, said)
    for phase in ("activations", "forward", "backward", "step"):
        assert getattr(took, phase) == pytest.approx(getattr(said, phase), rel=0.02), phase


def _attended(implementation: str, position: Any) -> Any:
    norm = decoder.RMSNorm()
    layer = decoder.PreNorm(
        attention=decoder.GroupedQueryAttention(num_heads=4, num_key_value_heads=2),
        feed_forward=decoder.Mlp(intermediate_size=64),
        norm=norm,
    )
    config = decoder.DecoderConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, layers=[layer], position=position, norm=norm
    )
    model = _deferred(config, attn_implementation=implementation)
    return simulation.simulate_step(model, simulation.StepSettings(batch_size=2, sequence=256))


def test_attention_that_has_to_be_whole_is_counted_whole() -> None:
    fused, biased, written = (
        _attended(*how) for how in (("sdpa", decoder.Rotary()), ("sdpa", decoder.Alibi()), ("eager", decoder.Rotary()))
    )
    assert fused.problem is biased.problem is written.problem is None
    # One mask with a bias for each head, for all layers; the weights of attention, for each layer and row.
    assert biased.activations > fused.activations + 4 * 256 * 256 * 4 / 2
    assert written.activations > fused.activations + 2 * 2 * 4 * 256 * 256 * 4 * 0.9


def test_a_model_whose_steps_depend_on_values_is_said_to() -> None:
    config = _llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
    found = _simulated(config)
    assert str(found.problem).startswith("activations and peaks are unknown, this model cannot be simulated: ")
    assert found.weights > 0


def test_an_adapter_has_small_gradients_and_state() -> None:
    peft = pytest.importorskip("peft")
    adapter = pytest.importorskip("forge.ml.models.adapter")
    settings = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = adapter.put_adapter(_deferred(_llama()), settings)
    found = simulation.simulate_step(model, simulation.StepSettings(batch_size=2, sequence=32))
    assert found.problem is None
    assert found.gradients < found.weights / 10


def test_what_is_not_in_the_figures_is_said() -> None:
    assert "memory of the host" in _simulated(enable_activation_offloading=True).notes[0]
    assert _simulated().notes == ()


def test_settings_describe_themselves() -> None:
    settings = simulation.StepSettings(
        4, 128, mixed_precision="bf16", gradient_checkpointing=2, fuse_optim_with_backward=True
    )
    assert settings.described == (
        "4 x 128 tokens, AdamW, bf16 autocast, gradient checkpointing 2, optimizer step fused with backward"
    )
    assert simulation.StepSettings(optimizer=partial(torch.optim.SGD)).described == "1 x 1024 tokens, SGD"


def test_the_models_own_attention_is_put_back() -> None:
    model = _deferred(_llama())
    with simulation._attention_of_a_kernel(model):
        assert model.config._attn_implementation == "forge_simulated"
    assert model.config._attn_implementation == "sdpa"
