"""Torch's own attention kernels by name: those that a CPU has give what torch would have chosen, the others are refused."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend  # noqa: E402 - torch may be missing

from forge.base.errors import ModelError  # noqa: E402 - as above
from forge.ml.models.causal import causal_lm  # noqa: E402 - as above
from forge.ml.models.sdpa_backends import SDPA_BACKENDS, known_as  # noqa: E402 - as above
from forge.plan.kernels import ATTENTIONS  # noqa: E402 - as above


def logits(attention: str) -> tuple[Any, Any]:
    from transformers import LlamaConfig

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = causal_lm(LlamaConfig(vocab_size=64, **sizes), attn_implementation=attention)
    answer = model(input_ids=torch.arange(12).reshape(2, 6)).logits
    answer.sum().backward()
    return answer.detach(), model.model.layers[0].self_attn.k_proj.weight.grad


def test_each_has_a_name_in_a_config() -> None:
    assert {name for name in ATTENTIONS if name.startswith("sdpa_")} == set(SDPA_BACKENDS)
    assert all("flash" not in known_as(name) for name in SDPA_BACKENDS)


@pytest.mark.parametrize("name", ["sdpa_math", "sdpa_flash"])
def test_what_a_cpu_has_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn import functional

    seen = []
    attend = functional.scaled_dot_product_attention

    def watching(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.nn.attention._cur_sdpa_kernel_backends())
        return attend(*args, **kwargs)

    wanted = logits("sdpa")
    monkeypatch.setattr(functional, "scaled_dot_product_attention", watching)
    found = logits(name)
    assert seen == [[SDPA_BACKENDS[name]]]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert SDPBackend.EFFICIENT_ATTENTION in torch.nn.attention._cur_sdpa_kernel_backends()


def test_without_a_kernel_the_error_says_which() -> None:
    with pytest.raises(ModelError, match="sdpa_efficient has no kernel for this model's attention: heads of 16"):
        logits("sdpa_efficient")
