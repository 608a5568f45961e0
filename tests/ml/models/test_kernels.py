"""Kernels that a model is given: refused where they cannot be; products of 8 bits as far as a CPU can imitate them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.base.errors import ModelError  # noqa: E402 - torch may be missing
from forge.ml.models import kernels  # noqa: E402 - as above
from forge.ml.models.causal import causal_lm  # noqa: E402 - as above

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def small(**settings: Any) -> Any:
    from transformers import LlamaConfig

    return causal_lm(LlamaConfig(vocab_size=64, **SIZES), **settings)


def test_a_cpu_has_none_of_them() -> None:
    with pytest.raises(ValueError, match="kernels liger does not train on a CPU: its kernels are Triton programs"):
        small(kernels="liger")
    with pytest.raises(ValueError, match="fp8 rowwise does not train on a CPU"):
        small(fp8="rowwise")
    with pytest.raises(ValueError, match="kernels has no 'fast'"):
        kernels.check_kernel("kernels", "fast", "cuda")


def test_liger_is_asked_for_all_but_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    package = ModuleType("liger_kernel.transformers")
    package._apply_liger_kernel_to_instance = lambda model, **how: asked.append((model, how))  # type: ignore[attr-defined]
    patches = ModuleType("liger_kernel.transformers.monkey_patch")
    patches.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": None}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", patches)
    monkeypatch.setattr(kernels, "check_kernel", lambda *_: None)
    model = SimpleNamespace(config=SimpleNamespace(model_type="llama"))
    kernels.put_kernels(model, torch.device("cpu"), kernels="liger")
    assert asked == [(model, {"cross_entropy": False, "fused_linear_cross_entropy": False})]
    model.config.model_type = "gpt2"
    with pytest.raises(ModelError, match="Liger has no kernels for a gpt2"):
        kernels.put_kernels(model, torch.device("cpu"), kernels="liger")


@pytest.mark.parametrize("recipe", ["tensorwise", "rowwise", "rowwise_with_gw_hp"])
def test_products_of_8_bits_are_near_and_the_weights_keep_their_names(recipe: str) -> None:
    pytest.importorskip("torchao")
    model = small()
    names = list(model.state_dict())
    tokens = torch.arange(32).reshape(2, 16)
    wanted = model(input_ids=tokens).logits
    kernels.put_fp8(model, recipe, emulate=True)
    assert list(model.state_dict()) == names
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    assert kinds["model.layers.0.mlp.up_proj"] == "Float8Linear"
    assert kinds["lm_head"] == "Linear"
    found = model(input_ids=tokens).logits
    assert 0 < (found - wanted).abs().max() < 0.1 * wanted.abs().max()
    found.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
