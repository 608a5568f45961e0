"""New weights one at a time: the numbers of the library, and the memory of one weight."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from families import tiny_config  # noqa: E402 - torch may be missing

from forge.ml.models.making import OneAtATime  # noqa: E402 - as above

FAMILIES = ["llama", "llama-tied", "gpt2", "gemma2", "mixtral", "qwen3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_numbers_are_those_of_the_library(family: str) -> None:
    torch.manual_seed(3)
    wanted = transformers.AutoModelForCausalLM.from_config(tiny_config(family))
    after = torch.rand(3)
    torch.manual_seed(3)
    with OneAtATime() as making:
        made = transformers.AutoModelForCausalLM.from_config(tiny_config(family))
    assert torch.equal(torch.rand(3), after)  # whoever draws next draws the same
    held = 0
    for (name, expected), (other, tensor) in zip(
        (*wanted.named_parameters(), *wanted.named_buffers()),
        (*made.named_parameters(), *made.named_buffers()),
        strict=True,
    ):
        held += tensor.untyped_storage().nbytes()
        assert name == other
        with making.whole(tensor.detach()) as found:
            assert torch.equal(found, expected), name
    assert held < 0.2 * sum(each.nbytes for each in wanted.parameters())


def test_whatever_is_done_with_a_weight_is_done_again() -> None:
    def make() -> list[Any]:
        one, other = torch.empty(8, 4), torch.empty(4)
        torch.nn.init.trunc_normal_(one)
        one[2].zero_()
        one[:, 1].uniform_().mul_(2)
        other.copy_(one[3])
        torch.nn.init.orthogonal_(one[:4])
        one.add_(other)
        there = torch.ones(4)  # has its numbers, and is given others
        there.copy_(torch.empty(4).uniform_().log_())
        torch._foreach_mul_([one, other], 3.0)
        return [one, other, one.sum(), there, torch.rand(2)]

    torch.manual_seed(1)
    wanted = make()
    torch.manual_seed(1)
    with OneAtATime() as making:
        found = make()
    assert [one.untyped_storage().nbytes() for one in found[:2]] == [0, 0]
    for one, other in zip(found, wanted, strict=True):
        with making.whole(one) as tensor:
            assert torch.equal(tensor, other)
