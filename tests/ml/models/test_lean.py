"""Norms and gated networks that keep less: the same results to the last bit, the same gradients, fewer bytes kept."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from peft import LoraConfig, get_peft_model  # noqa: E402 - as above
from torch import nn  # noqa: E402 - torch may be missing
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402 - as above
from transformers.models.llama.modeling_llama import LlamaRMSNorm  # noqa: E402 - as above

from forge.ml.memory.checkpointing import checkpoint_blocks  # noqa: E402 - as above
from forge.ml.memory.remaking import kept_elsewhere  # noqa: E402 - as above
from forge.ml.models import lean  # noqa: E402 - as above
from forge.ml.models.simulation import _Watch  # noqa: E402 - as above

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# What is understood of each: norms and gated networks of two layers, and the last norm.
FAMILIES = {
    "llama": 4 + 2 + 1,
    "mistral": 4 + 2 + 1,
    "qwen2": 4 + 2 + 1,
    "qwen3": 8 + 2 + 1,
    "gemma": 4 + 2 + 1,
    "gemma2": 8 + 2 + 1,
    "gemma3_text": 12 + 2 + 1,
    "granite": 4 + 2 + 1,
    "phi3": 4 + 2 + 1,
    "glm4": 8 + 2 + 1,
    "olmo2": 8 + 2 + 1,
    "smollm3": 4 + 2 + 1,
    "qwen3_moe": 8 + 0 + 1,  # the experts have code of their own
    "cohere": 2,  # its norms subtract the mean
}
TOKENS = torch.arange(48).reshape(2, 24) % 61 + 3


def made(family: str, kind: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16} if "moe" in family else {}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES, **experts))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) / 20)  # norms that scale by one would hide a mistake
    return model.to(kind).train()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def far(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(((one[name] - other[name]).norm() / other[name].norm().clamp_min(1e-9)).item() for name in other)


@pytest.mark.parametrize("family", FAMILIES)
def test_results_are_the_same_and_gradients_but_for_rounding(family: str) -> None:
    plain = made(family)
    leaner = deepcopy(plain)
    assert lean.put_lean(leaner) == FAMILIES[family]
    assert list(leaner.state_dict()) == list(plain.state_dict())
    assert torch.equal(leaner(input_ids=TOKENS).logits, plain(input_ids=TOKENS).logits)
    assert far(gradients(leaner), gradients(plain)) < 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_in_bfloat16_the_results_are_the_same_too(family: str) -> None:
    plain = made(family, torch.bfloat16)
    leaner = deepcopy(plain)
    lean.put_lean(leaner)
    assert torch.equal(leaner(input_ids=TOKENS).logits, plain(input_ids=TOKENS).logits)
    exact = gradients(made(family))
    found = far(gradients(leaner), exact), far(gradients(plain), exact)
    assert found[0] < 1.1 * found[1], found  # as near to float32 as the model's own code


def test_autocast_computes_the_same() -> None:
    plain = made("llama")
    leaner = deepcopy(plain)
    lean.put_lean(leaner)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(leaner(input_ids=TOKENS).logits, plain(input_ids=TOKENS).logits)
        found, wanted = gradients(leaner), gradients(plain)
    assert far(found, wanted) < 0.01


def kept(model: Any) -> int:
    """The bytes that are there after a forward pass and were not before."""
    with _Watch() as watch:
        watch.count([*model.parameters(), *model.buffers()])
        before = watch.begin()
        _loss = model(input_ids=TOKENS, use_cache=False).logits.sum()
        return watch.live - before


def test_nothing_that_norms_and_gates_make_is_kept() -> None:
    plain = made("llama")
    leaner = deepcopy(plain)
    lean.put_lean(leaner)
    hidden, inner = SIZES["hidden_size"] * TOKENS.numel() * 4, SIZES["intermediate_size"] * TOKENS.numel() * 4
    inside = 5 * hidden + 2 * inner
    results = 4 * hidden + 2 * inner  # the last norm is of no layer, and the head keeps what it makes
    assert kept(plain) - kept(leaner) == inside + results
    with kept_elsewhere():
        assert kept(plain) - kept(leaner) == inside


def test_autocast_keeps_no_casts_of_them() -> None:
    model = made("llama")
    lean.put_lean(model)
    with torch.autocast("cpu", torch.bfloat16):
        less = kept(model)
        with kept_elsewhere():
            more = kept(model)
    # What goes into five matrices of each layer, and what goes out of the gate: two bytes a number.
    numbers = 2 * (5 * SIZES["hidden_size"] + SIZES["intermediate_size"]) * TOKENS.numel()
    assert more - less == 2 * numbers


class Named(nn.Module):
    """A layer with a norm, whose matrix is called by the name of what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"norm": LlamaRMSNorm(8), "matrix": nn.Linear(8, 8)})])

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.layers[0]["matrix"](input=self.layers[0]["norm"](hidden))


def test_a_matrix_may_be_called_by_name() -> None:
    model, given = Named(), torch.randn(2, 3, 8)
    wanted = model(given)
    assert lean.put_lean(model) == 1
    with torch.autocast("cpu", torch.float16):
        assert model(given).dtype == torch.float16
    assert torch.equal(model(given), wanted)


@pytest.mark.parametrize("how", ["full", "selective"])
def test_checkpoints_of_lean_layers_keep_what_those_of_others_do(how: Any) -> None:
    plain = made("llama")
    leaner = deepcopy(plain)
    lean.put_lean(leaner)
    for model in (plain, leaner):
        checkpoint_blocks(model, how)
    last = (SIZES["hidden_size"]) * TOKENS.numel() * 4  # of the last norm, which is of no layer
    assert kept(plain) - kept(leaner) == last
    assert far(gradients(leaner), gradients(plain)) < 1e-5


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapters_learn_the_same() -> None:
    def adapted(model: Any) -> Any:
        torch.manual_seed(1)
        names = ["q_proj", "v_proj", "up_proj", "down_proj"]
        return get_peft_model(model, LoraConfig(target_modules=names, init_lora_weights=False))

    plain = made("llama")
    leaner = deepcopy(plain)
    lean.put_lean(leaner)
    found, wanted = gradients(adapted(leaner)), gradients(adapted(plain))
    trained = {name for name, slope in wanted.items() if slope is not None}
    assert len(trained) == 2 * 4 * 2
    assert far({name: found[name] for name in trained}, {name: wanted[name] for name in trained}) < 1e-5


def test_a_backward_pass_in_two_halves_gets_the_same() -> None:
    model = made("llama")
    lean.put_lean(model)
    wanted = gradients(deepcopy(model))
    names, weights = zip(*model.named_parameters(), strict=True)
    loss = model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    embedding, *others = weights
    (first,) = torch.autograd.grad(loss, [embedding], retain_graph=True)
    found = dict(zip(names, (first, *torch.autograd.grad(loss, others)), strict=True))
    assert all(torch.equal(found[name], wanted[name]) for name in names)


@pytest.mark.parametrize("scale", lean._SCALES)
def test_the_gradients_of_a_norm_are_those_of_its_formula(scale: Any) -> None:
    torch.manual_seed(0)
    given = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: lean._Norm.apply(x, w, 1e-6, scale), (given, weight))
    frozen = weight.detach()
    assert torch.autograd.gradcheck(lambda x: lean._Norm.apply(x, frozen, 1e-6, scale), (given,))
    fixed = given.detach()
    assert torch.autograd.gradcheck(lambda w: lean._Norm.apply(fixed, w, 1e-6, scale), (weight,))


@pytest.mark.parametrize("activation", lean._ACTIVATIONS)
def test_the_gradients_of_a_gate_are_those_of_its_formula(activation: Any) -> None:
    torch.manual_seed(0)
    gate, up = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: lean._Gate.apply(a, b, activation), (gate, up))


class Centred(nn.Module):
    """Made of what a norm is made of, and computing something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.eps = 1e-6

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden - hidden.mean(-1, keepdim=True)
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.eps)


class Grouped(nn.Module):
    """A norm of groups of eight, which computes what a norm of one group does where there is but one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))
        self.eps = 1e-6

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        wide = hidden.float().unflatten(-1, (-1, 8))
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.flatten(-2).to(hidden.dtype)


class Halved(nn.Module):
    """A gated network that divides by two."""

    def __init__(self, *, half: bool) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (nn.Linear(8, 8) for _ in range(3))
        self.act_fn = nn.SiLU()
        self.share = 0.5 if half else 1.0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(hidden)) * self.up_proj(hidden) * self.share)


class Another(Halved):
    """One that wants more than vectors, and of which the parts say nothing."""

    def forward(self, hidden: torch.Tensor, more: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(hidden) + more


class Scaled(nn.Module):
    """A norm with a weight or without one."""

    def __init__(self, *, weighs: bool) -> None:
        super().__init__()
        self.eps = 1e-6
        self.weight = nn.Parameter(torch.ones(8)) if weighs else None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        wide = hidden.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return normed.to(hidden.dtype) if self.weight is None else self.weight * normed.to(hidden.dtype)


def test_the_parts_of_an_assembled_decoder_are_understood() -> None:
    from forge.ml.models.decoder.feed_forward import GatedFeedForward
    from forge.ml.models.decoder.norm import RMSNorm

    parts = [RMSNorm().module(16), GatedFeedForward(intermediate_size=24).module(16)]
    assert lean.put_lean(nn.ModuleList(parts)) == 2


def test_a_norm_without_a_weight_is_not_taken_for_one_with_it() -> None:
    norms = nn.ModuleList([Scaled(weighs=True), Scaled(weighs=False)])
    given = torch.randn(3, 8, requires_grad=True)
    wanted = [norm(given) for norm in norms]
    assert lean.put_lean(norms) == 1
    assert all(torch.equal(norm(given), result) for norm, result in zip(norms, wanted, strict=True))


def test_what_computes_something_else_stays_as_it_is() -> None:
    parts = (Centred(), Grouped(), Halved(half=True), Another(half=False), nn.LayerNorm(8), nn.RMSNorm(8, eps=1e-6))
    assert lean.put_lean(nn.Sequential(*parts)) == 0
    assert not any("forward" in vars(part) for part in parts)
    # Settings count: of the same class one is understood and one is not.
    assert lean.put_lean(nn.ModuleList([Halved(half=True), Halved(half=False), Halved(half=True)])) == 1


def test_nothing_of_the_generator_and_the_weights_is_used_up() -> None:
    model = made("llama")
    before = torch.random.get_rng_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    lean.put_lean(model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES))
    assert lean.put_lean(empty) == FAMILIES["llama"]
    assert {weight.device.type for weight in empty.parameters()} == {"meta"}


def test_without_gradients_and_compiled_the_model_runs_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("llama")
    lean.put_lean(model)

    def fail(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(lean._Norm, "apply", fail)
    monkeypatch.setattr(lean._Gate, "apply", fail)
    with torch.no_grad():
        assert model(input_ids=TOKENS).logits.shape == (2, 24, 64)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert model(input_ids=TOKENS).logits.requires_grad
