"""What a layer keeps, held against what torch keeps of the same layer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.activations import checkpointed_layers, layer_bytes, layer_input_bytes, layer_work_bytes, tail_bytes
from forge.plan.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.plan.setup import TrainingSetup


def test_a_llama_in_float32_by_hand(setup_for: Callable[..., TrainingSetup]) -> None:
    # Two norms keep what they saw, what they made of it and what goes on; then q, k, v and their result; then four widths.
    expected = 4 * (6 * 512 + 4 * 512 + 4 * 1408) + 4 * 8 + 2 * 4
    assert layer_bytes(setup_for(), 0, checkpointed=False) == expected * 2048


def test_checkpoints_leave_the_input_of_a_layer(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(checkpointing=True)
    assert layer_bytes(setup, 0, checkpointed=True) == layer_input_bytes(setup) == 4 * 512 * 2048
    chosen = setup_for(checkpointing="selective")
    whole, part = (layer_bytes(chosen, 0, checkpointed=marked) for marked in (False, True))
    assert layer_input_bytes(setup) < part < whole


@pytest.mark.parametrize(
    ("how", "marks"),
    [(False, [0] * 8), (True, [1] * 8), ("full", [1] * 8), (2, [0, 1] * 4), (3, [0, 0, 1, 0, 0, 1, 0, 0])],
)
def test_which_layers_are_checkpointed(setup_for: Callable[..., TrainingSetup], how: Any, marks: list[int]) -> None:
    assert checkpointed_layers(setup_for(checkpointing=how)) == [bool(mark) for mark in marks]


def test_tensor_parallelism_divides_what_is_between_matrices(setup_for: Callable[..., TrainingSetup]) -> None:
    whole = layer_bytes(setup_for(), 0, checkpointed=False)
    half = layer_bytes(setup_for(Layout(tp=2)), 0, checkpointed=False)
    shared = layer_bytes(setup_for(Layout(tp=2, sequence_parallel=True)), 0, checkpointed=False)
    assert whole / 2 < shared < half < whole
    assert layer_work_bytes(setup_for(Layout(tp=2)), 0) < layer_work_bytes(setup_for(), 0)


def test_attention_written_out_keeps_a_number_for_each_pair(setup_for: Callable[..., TrainingSetup]) -> None:
    fused, written = (layer_bytes(setup_for(scores=scores), 0, checkpointed=False) for scores in (False, True))
    assert written - fused == 4 * 8 * 512 * 2048


SIMULATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {}, {}),
    ("llama", {"weights": "bfloat16"}, {}),
    ("llama", {"precision": "bf16"}, {}),
    ("llama", {"checkpointing": True}, {}),
    ("llama", {"checkpointing": "selective"}, {}),
    ("llama", {"checkpointing": "selective", "weights": "bfloat16"}, {}),
    ("qwen3", {}, {"head_dim": 64}),
    ("qwen3", {"weights": "bfloat16"}, {"head_dim": 64}),
    ("qwen2", {}, {}),
    ("mistral", {}, {}),
    ("granite", {}, {}),
    ("phi3", {}, {}),
    ("phi3", {}, {"partial_rotary_factor": 0.5}),
    ("cohere", {}, {}),
    ("gpt2", {}, {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
]


@pytest.mark.torch
@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize(("model_type", "run", "more"), SIMULATED)
def test_a_forward_pass_keeps_what_is_counted(
    setup_for: Callable[..., TrainingSetup], model_type: str, run: dict[str, Any], more: dict[str, Any], *, lean: bool
) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from forge.ml.models.lean import put_lean
    from forge.ml.models.simulation import StepSettings, simulate_step

    sizes: dict[str, Any] = {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "intermediate_size": 1408,
        "vocab_size": 16_384,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }
    sizes |= {"n_inner": 1408} if model_type == "gpt2" else {"num_key_value_heads": 8}
    config = CONFIG_MAPPING[model_type](**sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, run.get("weights", "float32")))
    if lean:
        put_lean(model)
    settings = StepSettings(
        2, 512, mixed_precision=run.get("precision", "no"), gradient_checkpointing=run.get("checkpointing", False)
    )
    simulated = simulate_step(model, settings)
    setup = setup_for(model={**config.to_dict(), "model_type": model_type}, batch_size=2, lean=lean, **run)
    marks = checkpointed_layers(setup)
    counted = sum(layer_bytes(setup, layer, checkpointed=marks[layer]) for layer in range(8)) + tail_bytes(setup)
    counted += 16_384 * 512 * setup.weight_size  # the gradient of the head, which the loss has made
    if setup.cast and not setup.checkpointing:
        counted += 2 * 8 * (4 * 512 * 512 + 3 * 512 * 1408)  # weights as they were cast
    assert counted == pytest.approx(simulated.activations, rel=0.05)


FULL = os.environ.get("FORGE_FULL") == "1"
COMPILED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {"weights": "bfloat16"}, {}),
    ("llama", {"precision": "bf16"}, {}),
    ("qwen3", {"precision": "bf16"}, {"head_dim": 64}),
    ("gemma2", {"precision": "bf16", "scores": True}, {"head_dim": 64}),
    ("gemma3_text", {}, {"head_dim": 64}),
    ("phi3", {}, {}),
    ("phi3", {}, {"partial_rotary_factor": 0.5}),
    ("cohere", {}, {}),
    ("qwen3_moe", {}, {"head_dim": 64, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}),
    ("gpt2", {"precision": "bf16"}, {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
]


@pytest.fixture
def traced() -> Iterator[None]:
    """What a compiled layer keeps is chosen, and no code is made of it."""
    torch = pytest.importorskip("torch")
    before = torch.compiler.get_default_backend()
    torch._dynamo.reset()
    torch.compiler.set_default_backend("aot_eager_decomp_partition")
    with torch._dynamo.config.patch(recompile_limit=torch._dynamo.config.recompile_limit):
        yield
    torch.compiler.set_default_backend(before)
    torch._dynamo.reset()


@pytest.mark.torch
@pytest.mark.usefixtures("traced")
# The compiler of torch uses what torch itself has deprecated, and hides a warning of its own only where it is a warning.
@pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning", "ignore:The .grad attribute of a Tensor:UserWarning"
)
@pytest.mark.parametrize("lean", [False, True] if FULL else [True])
@pytest.mark.parametrize(("model_type", "run", "more"), COMPILED)
def test_a_compiled_layer_keeps_what_is_counted(
    setup_for: Callable[..., TrainingSetup], model_type: str, run: dict[str, Any], more: dict[str, Any], *, lean: bool
) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from forge.ml.memory.blocks import blocks
    from forge.ml.memory.compile import compile_blocks
    from forge.ml.memory.precision import choose_precision
    from forge.ml.models.lean import put_lean

    sizes: dict[str, Any] = {
        "hidden_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "intermediate_size": 1408,
        "vocab_size": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }
    sizes |= {"n_inner": 1408} if model_type == "gpt2" else {"num_key_value_heads": 8}
    config = CONFIG_MAPPING[model_type](**sizes)
    attention = "eager" if run.get("scores") else "sdpa"
    kind = getattr(torch, run.get("weights", "float32"))
    model = AutoModelForCausalLM.from_config(config, dtype=kind, attn_implementation=attention).train()
    if lean:
        put_lean(model)
    compile_blocks(model)
    seen = {parameter.data_ptr(): 0 for parameter in [*model.parameters(), *model.buffers()]}
    kept: dict[int, dict[int, int]] = {}
    watching = []

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = 1
            kept[len(watching)][storage.data_ptr()] = storage.nbytes()
        return tensor

    def begin(*_: Any) -> None:
        watching.append(torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor))
        kept[len(watching)] = {}
        watching[-1].__enter__()

    for layer in blocks(model):
        layer.register_forward_pre_hook(begin)
        layer.register_forward_hook(lambda *_: watching[-1].__exit__())
    tokens = torch.randint(3, 64, (2, 128))
    with choose_precision(run.get("precision", "no"), "cpu").autocast():
        logits = model(input_ids=tokens, use_cache=False).logits
    setup = setup_for(
        model={**config.to_dict(), "model_type": model_type},
        batch_size=2,
        sequence_length=128,
        lean=lean,
        compiled=True,
        **run,
    )
    # What layers share (turns, masks of two kinds) was met in the first two.
    assert sum(kept[3].values()) == pytest.approx(layer_bytes(setup, 2, checkpointed=False), rel=0.01)
    del logits  # until here its graph holds what was kept, so that no place in memory was taken twice
