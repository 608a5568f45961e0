"""A model is cut up before it has weights, and says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from forge.ml.parallel import spread  # noqa: E402 - torch may be missing
from forge.ml.parallel.spread import spread_model  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Pretend = Callable[..., AbstractContextManager[Any]]


def test_no_process_has_the_model(pretend: Pretend) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 64}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    with pretend(1, 4, dp_shard=4, zero_stage=3) as joined:
        said = spread_model(model, joined)
        assert said == "layout: dp_shard=4 zero_stage=3 on 4 processes"
        pieces = sum(parameter.to_local().numel() for parameter in model.parameters())
        assert all(parameter.is_meta for parameter in model.parameters())
        assert pieces == sum(parameter.numel() for parameter in model.parameters()) // 4


def test_pieces_of_a_sequence_go_from_stage_to_stage(pretend: Pretend) -> None:
    """What comes to the first layer is cut, what goes from the last is whole, and nothing is made whole in between."""
    from forge.ml.loss import CausalLoss
    from forge.ml.parallel.pipeline_cut import Cut, dissect

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "vocab_size": 64}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    folded = {"pp": 2, "pp_schedule": "zbv", "microbatches": 4, "stages_per_rank": 2}
    with pretend(0, 4, tp=2, sequence_parallel=True, **folded) as joined:
        model = transformers.AutoModelForCausalLM.from_config(config)
        for place, ends in ((0, [(True, False), (False, True)]), (1, [(False, False)] * 2)):
            cut = Cut(dissect(CausalLoss(model).head), joined.layout, place, 8, ())
            assert [(chain.first, chain.last) for chain in spread._chains(model, cut)] == ends
        (whole,) = spread._chains(model, None)
        assert (len(whole.layers), whole.first, whole.last) == (4, True, True)
