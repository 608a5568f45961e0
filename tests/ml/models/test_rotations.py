"""Rotations in fewer passes: the model's own results to the last bit, its gradients, and its code left alone where it differs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - torch may be missing
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402 - as above
from transformers.models.cohere.modeling_cohere import apply_rotary_pos_emb as in_pairs  # noqa: E402 - as above
from transformers.models.llama import modeling_llama  # noqa: E402 - as above

from forge.ml.models.decoder.attention import apply_rotary_pos_emb as assembled  # noqa: E402 - as above
from forge.ml.models.rotations import put_rotations  # noqa: E402 - as above

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
UNDERSTOOD = ["llama", "qwen3", "gemma2", "phi3", "granite", "olmo2", "mixtral"]
OTHERS = ["gpt2", "cohere", "glm4", "gpt_oss"]
TOKENS = torch.arange(48).reshape(2, 24) % 61 + 3


class Attention(nn.Module):
    """As little of one as rotates; its code finds the function among the names of this module."""

    def forward(self, query: Any, key: Any, cos: Any, sin: Any, **settings: Any) -> Any:
        return apply_rotary_pos_emb(query, key, cos, sin, **settings)


apply_rotary_pos_emb = modeling_llama.apply_rotary_pos_emb


def made(family: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES)).train()


def drawn(kind: torch.dtype, turns: torch.dtype, *, width: int = 8) -> list[torch.Tensor]:
    torch.manual_seed(1)
    heads = [torch.randn(2, 9, count, 8).transpose(1, 2).to(kind).requires_grad_() for count in (4, 2)]
    return [*heads, *(torch.randn(1, 9, width).to(turns) for _ in ("cos", "sin"))]


def outcome(rotate: Any, given: list[torch.Tensor], **settings: Any) -> list[torch.Tensor]:
    results = rotate(*given, **settings)
    loss = sum(each.float().sin().sum() for each in results)
    return [*results, *torch.autograd.grad(loss, given[:2])]


@pytest.mark.parametrize("family", UNDERSTOOD)
def test_logits_are_the_same_to_the_last_bit_and_gradients_but_for_rounding(family: str) -> None:
    plain = made(family)
    quicker = deepcopy(plain)
    assert put_rotations(quicker) == SIZES["num_hidden_layers"]
    assert torch.equal(quicker(input_ids=TOKENS).logits, plain(input_ids=TOKENS).logits)
    for model in (plain, quicker):
        model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss.backward()
    for mine, own in zip(quicker.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, own.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("family", OTHERS)
def test_what_is_not_understood_stays(family: str) -> None:
    model = made(family)
    before = [module.forward for module in model.modules()]
    assert put_rotations(model) == 0
    assert [module.forward for module in model.modules()] == before


def test_the_names_of_the_modules_code_stay_for_other_models() -> None:
    own = modeling_llama.apply_rotary_pos_emb
    put_rotations(made("llama"))
    assert modeling_llama.apply_rotary_pos_emb is own
    assert made("llama").model.layers[0].self_attn.forward.__func__.__globals__["apply_rotary_pos_emb"] is own


@pytest.mark.parametrize("turns", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_types_and_results_are_those_of_the_models_function(kind: torch.dtype, turns: torch.dtype) -> None:
    module = Attention()
    assert put_rotations(module) == 1
    given = drawn(kind, turns)
    found, wanted = outcome(module, given), outcome(apply_rotary_pos_emb, given)
    assert [each.dtype for each in found] == [each.dtype for each in wanted]
    assert [each.stride() for each in found[:2]] == [each.stride() for each in wanted[:2]]
    assert all(map(torch.equal, found[:2], wanted[:2]))
    near = 1e-6 if kind == torch.float32 else 2e-2
    for mine, own in zip(found[2:], wanted[2:], strict=True):
        torch.testing.assert_close(mine, own, rtol=near, atol=near)


def rotations(found: list[torch.Tensor]) -> list[bool]:
    return [type(each.grad_fn).__name__ == "_RotationBackward" for each in found[:2]]


def test_what_it_is_not_made_for_goes_to_the_models_function() -> None:
    module = Attention()
    put_rotations(module)
    assert rotations(outcome(module, drawn(torch.float32, torch.float32))) == [True, True]
    beside = [each.transpose(1, 2) for each in drawn(torch.float32, torch.float32)[:2]]
    given = [*beside, *drawn(torch.float32, torch.float32)[2:]]
    found, wanted = (outcome(rotate, given, unsqueeze_dim=2) for rotate in (module, apply_rotary_pos_emb))
    assert rotations(found) == [False, False]
    assert all(map(torch.equal, found, wanted))
    learned = drawn(torch.float32, torch.float32)
    learned[2].requires_grad_()  # angles that are trained
    assert rotations(outcome(module, learned)) == [False, False]
    with pytest.raises(RuntimeError, match="must match the size"):  # as the model's own says it
        module(*drawn(torch.float32, torch.float32, width=4))
    with torch.no_grad():
        assert module(*drawn(torch.float32, torch.float32))[0].grad_fn is None


def test_a_function_that_pairs_neighbours_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "apply_rotary_pos_emb", in_pairs)
    assert put_rotations(Attention()) == 0


def test_assembled_decoders_rotate_by_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "apply_rotary_pos_emb", assembled)
    assert put_rotations(Attention()) == 1


# torch's compiler hides the first only where it is a warning.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_compiled_layers_rotate_as_their_own_code_does() -> None:
    plain = made("llama")
    quicker = deepcopy(plain)
    put_rotations(quicker)
    for layer in quicker.model.layers:
        layer.compile(backend="aot_eager", fullgraph=True)
    for model in (plain, quicker):
        model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss.backward()
    for mine, own in zip(quicker.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, own.grad)


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_a_model_in_bfloat16_learns(family: str) -> None:
    config = AutoConfig.for_model(family, **SIZES)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).train()
    lean = deepcopy(model)
    assert put_rotations(lean) == SIZES["num_hidden_layers"]
    assert torch.equal(lean(input_ids=TOKENS).logits, model(input_ids=TOKENS).logits)
