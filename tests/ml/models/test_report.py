from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")
causal = pytest.importorskip("forge.ml.models.causal")
report = pytest.importorskip("forge.ml.models.report")
simulation = pytest.importorskip("forge.ml.models.simulation")
smoke = pytest.importorskip("forge.ml.models.smoke")

MEMORY = simulation.StepMemory(
    described="2 x 8 tokens, AdamW",
    weights=5 << 30,
    gradients=3 << 20,
    optimizer=1536,
    logits=100,
    activations=1,
    forward=2,
    backward=3,
    step=4,
    notes=("a note",),
)


def _llama(**changes: Any) -> Any:
    settings = {
        "vocab_size": 100,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    with causal.deferred_weights():
        return causal.causal_lm(transformers.LlamaConfig(**settings | changes))


def test_parameters_are_counted_by_block() -> None:
    found = {block.name: (block.count, block.each, block.trained) for block in report.parameter_blocks(_llama())}
    assert found == {
        "model.embed_tokens": (1, 1600, 1600),
        "layer self_attn": (3, 768, 2304),
        "layer mlp": (3, 1152, 3456),
        "layer input_layernorm": (3, 16, 48),
        "layer post_attention_layernorm": (3, 16, 48),
        "model.norm": (1, 16, 16),
        "lm_head": (1, 1600, 1600),
    }


@pytest.mark.parametrize("tied", [True, False])
def test_blocks_add_up_to_the_model_and_what_is_tied_counts_once(tied: object) -> None:
    model = _llama(tie_word_embeddings=tied)
    parts = report.parameter_blocks(model)
    assert sum(block.parameters for block in parts) == sum(one.numel() for one in model.parameters())
    head = parts[-1]
    assert (head.name, head.tied, head.parameters) == (
        "lm_head",
        *(("model.embed_tokens", 0) if tied else (None, 1600)),
    )


def test_layers_that_differ_are_told_apart() -> None:
    def layer(width: int) -> Any:
        return decoder.PreNorm(
            attention=decoder.MultiHeadAttention(num_heads=2),
            feed_forward=decoder.Mlp(intermediate_size=width, bias=False),
            norm=decoder.RMSNorm(),
        )

    config = decoder.DecoderConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=6,
        layers=[layer(8)],
        replaced={2: layer(24), 5: layer(24)},
        position=decoder.NoPositions(),
    )
    with causal.deferred_weights():
        parts = report.parameter_blocks(causal.causal_lm(config))
    found = {block.name: (block.count, block.each) for block in parts if block.name.endswith("mlp")}
    assert found == {"layers 0-1,3-4 mlp": (4, 256), "layers 2,5 mlp": (2, 768)}


def test_an_adapter_is_counted_with_what_it_is_on() -> None:
    peft = pytest.importorskip("peft")
    adapter = pytest.importorskip("forge.ml.models.adapter")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    parts = {block.name: block for block in report.parameter_blocks(adapter.put_adapter(_llama(), settings))}
    assert parts["layer self_attn"].trained == 3 * 2 * (16 + 16)
    assert parts["layer self_attn"].each == 768 + 64
    assert parts["model.embed_tokens"].trained == parts["layer mlp"].trained == 0


def test_the_table_says_it_for_people() -> None:
    model = _llama(tie_word_embeddings=True)
    lines = report.table(model, report.parameter_blocks(model), MEMORY).splitlines()
    assert lines[0] == "LlamaForCausalLM: 7,472 parameters, all trained"
    assert lines[2].split() == ["block", "each", "count", "parameters", "trained"]
    assert lines[4].split() == ["layer", "self_attn", "768", "3", "2,304", "2,304", "30.8%"]
    assert "tied to model.embed_tokens" in lines[9]
    assert lines[11] == "memory of a step: 2 x 8 tokens, AdamW"
    assert lines[13:] == [
        "weights               5.00 GiB",
        "gradients             3.00 MiB",
        "optimizer state       1.50 KiB",
        "activations kept           1 B",
        "peak, forward              2 B",
        "peak, backward             3 B",
        "peak, optimizer step       4 B",
        "whole logits would be 100 B",
        "a note",
    ]


def test_what_is_unknown_is_not_shown_as_a_figure() -> None:
    model = _llama()
    unknown = simulation.StepMemory("2 x 8 tokens", 1, 2, 3, 4, problem="activations and peaks are unknown")
    text = report.table(model, report.parameter_blocks(model), unknown)
    assert text.endswith("activations and peaks are unknown")
    assert "peak, forward" not in text


def test_programs_get_the_same_as_data() -> None:
    model = _llama()
    data = report.as_data(model, report.parameter_blocks(model), MEMORY)
    assert (data["model"], data["parameters"], data["trained"]) == ("LlamaForCausalLM", 9072, 9072)
    assert data["blocks"][1]["parameters"] == 2304
    assert data["memory"]["weights"] == 5 << 30


def test_a_smoke_step_is_told_with_what_is_wrong() -> None:
    step = smoke.SmokeStep(
        "cpu: 2 x 8 tokens", 100, 4.6, 4.5, 4.25, 1.0, {"forward": 0.5}, 2 << 20, "tensors", ["not finite: the loss"]
    )
    assert report.smoke_text(step).splitlines() == [
        "a step on cpu: 2 x 8 tokens",
        "loss 4.5000 on random tokens; nobody can guess them: near ln(100) = 4.6000 in a new model, perhaps higher in a trained one",
        "loss 4.2500 after the step, on the same tokens",
        "gradient norm 1.0000",
        "forward 0.50 s",
        "peak memory 2.00 MiB (tensors)",
        "not finite: the loss",
    ]
