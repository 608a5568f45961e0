"""Checkpointed layers train as others do, in less memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tiny_sizes import TINY

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
TorchDispatchMode = pytest.importorskip("torch.utils._python_dispatch").TorchDispatchMode
checkpointing = pytest.importorskip("forge.ml.memory.checkpointing")
memory_blocks = pytest.importorskip("forge.ml.memory.blocks")

WAYS = [True, "full", 1, 2, 3, "selective"]


class _Products(TorchDispatchMode):
    """Counts the matrix products that are computed."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return func(*args, **(kwargs or {}))


def _saved_bytes(model: Any, loss_of: Callable[..., Any]) -> int:
    """The bytes that the forward pass leaves for the backward pass, each memory counted once."""
    sizes: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def count(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss_of(model, 0)
    return sum(sizes.values())


@pytest.mark.parametrize("how", WAYS)
def test_gradients_are_the_same_bit_for_bit(llama: Any, gradients: Any, same: Any, how: Any) -> None:
    model = llama()
    checkpointing.checkpoint_blocks(model, how)
    assert same(gradients(model), gradients(llama()))


@pytest.mark.parametrize("family", ["GPT2", "OPT", "GPTNeoX"])
def test_other_families_have_the_same_gradients(gradients: Any, same: Any, family: str) -> None:
    names = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 128, "use_cache": False}
    shape = {**names, "ffn_dim": 64, "intermediate_size": 64, "word_embed_proj_dim": 32, "hidden_dropout": 0.1}
    config = getattr(transformers, f"{family}Config")(**shape)

    def made() -> Any:
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).train()

    torch.manual_seed(1)
    plain = gradients(made())
    torch.manual_seed(1)
    model = made()
    checkpointing.checkpoint_blocks(model, how=True)
    assert same(gradients(model), plain)


@pytest.mark.parametrize(
    ("how", "count"), [(True, 4), ("full", 4), (1, 4), (2, 2), (3, 1), ("selective", 4), (False, 0)]
)
def test_so_many_layers_are_checkpointed(llama: Any, how: Any, count: int) -> None:
    model = llama()
    assert checkpointing.checkpoint_blocks(model, how) == count
    assert sum("forward" in vars(block) for block in memory_blocks.blocks(model)) == count


def test_the_more_is_computed_again_the_less_is_saved(llama: Any, loss_of: Any) -> None:
    saved = {}
    for how in (False, 2, "selective", True):
        model = llama()
        checkpointing.checkpoint_blocks(model, how)
        saved[how] = _saved_bytes(model, loss_of)
    assert saved[True] < saved[2] < saved[False]
    assert saved[True] < 0.5 * saved[False]


def test_selective_runs_no_matrix_product_twice(llama: Any, loss_of: Any) -> None:
    counts = {}
    for how in (False, "selective", True):
        model = llama()
        checkpointing.checkpoint_blocks(model, how)
        with _Products() as products:
            loss_of(model, 0).backward()
        counts[how] = products.count
    assert counts["selective"] == counts[False] < counts[True]


def test_names_stay_and_the_weights_can_be_read_back(llama: Any) -> None:
    model = llama()
    checkpointing.checkpoint_blocks(model, how=True)
    assert list(model.state_dict()) == list(llama().state_dict())
    llama().load_state_dict(model.state_dict())


def test_without_gradients_a_layer_runs_as_it_is(llama: Any) -> None:
    model, tokens = llama().eval(), torch.arange(8)[None]
    checkpointing.checkpoint_blocks(model, how=True)
    with torch.no_grad():
        generated = model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(generated, llama().eval().generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0))


def test_a_cache_in_training_is_refused(llama: Any) -> None:
    model = llama()
    checkpointing.checkpoint_blocks(model, how=True)
    with pytest.raises(ValueError, match=r"LlamaDecoderLayer .* use_cache=False"):
        model(input_ids=torch.arange(8)[None], use_cache=True)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_falls_on_the_same_values_again(llama: Any, gradients: Any, same: Any, dropout: float) -> None:
    models = [llama(attention_dropout=dropout, attn_implementation="eager") for _ in range(2)]
    checkpointing.checkpoint_blocks(models[0], how=True)
    found = []
    for model in models:
        torch.manual_seed(5)
        found.append(gradients(model))
    assert same(*found)


@pytest.mark.parametrize(
    ("block", "random"),
    [
        (torch.nn.Sequential(torch.nn.Dropout(0.1)), True),
        (torch.nn.Sequential(torch.nn.Dropout(0.0)), False),
        (torch.nn.Sequential(torch.nn.Linear(2, 2)), False),
    ],
)
def test_random_numbers_are_kept_where_there_are_some(block: Any, random: object) -> None:
    assert checkpointing._draws_random_numbers(block) is random


def test_inputs_given_by_name_get_gradients_and_are_seen_by_hooks(llama: Any) -> None:
    model = llama()
    checkpointing.checkpoint_blocks(model, how=True)
    inputs = torch.randn(1, 3, 64, requires_grad=True)
    positions = model.model.rotary_emb(inputs, torch.arange(3)[None])
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: seen.append(tensor.shape) or tensor, lambda tensor: tensor
    ):
        out = memory_blocks.blocks(model)[0](hidden_states=inputs, position_embeddings=positions)
    assert inputs.shape in seen
    out.sum().backward()
    assert inputs.grad.abs().sum() > 0


@pytest.mark.parametrize("wrong", ["some", 0, -1, 1.5, None])
def test_other_values_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="gradient_checkpointing is true or full"):
        checkpointing.checkpointing_period(wrong)


def test_a_kept_result_that_is_written_over_is_refused() -> None:
    config = transformers.AutoConfig.for_model("olmo", **{**TINY, "clip_qkv": 0.5})
    model = transformers.AutoModelForCausalLM.from_config(config).train()
    checkpointing.checkpoint_blocks(model, "selective")
    with pytest.raises(ModelError, match="writes over it"):
        model(input_ids=torch.arange(3, 9)[None], use_cache=False)
