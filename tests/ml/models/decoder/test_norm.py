from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
llama = pytest.importorskip("transformers.models.llama.modeling_llama")
norm = pytest.importorskip("forge.ml.models.decoder.norm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rmsnorm_is_the_one_of_llama(dtype: object) -> None:
    torch.manual_seed(0)
    ours, theirs = norm.RMSNorm(1e-5).module(16).to(dtype), llama.LlamaRMSNorm(16, 1e-5).to(dtype)
    with torch.no_grad():
        ours.weight.normal_()
        theirs.weight.copy_(ours.weight)
    vectors = torch.randn(3, 5, 16, dtype=dtype) * 7
    assert torch.equal(ours(vectors), theirs(vectors))


def test_layernorm_shifts_only_with_a_bias() -> None:
    assert norm.LayerNorm().module(8).bias is not None
    assert norm.LayerNorm(bias=False).module(8).bias is None


def test_a_norm_shows_its_size() -> None:
    assert repr(norm.RMSNorm(1e-6).module(8)) == "DecoderRMSNorm((8,), eps=1e-06)"
