"""A model cut into stages; in one process, which hands over what stages would send."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

import transformers  # noqa: E402 - torch may be missing
from pipeline_runs import FAMILIES, SIZES  # noqa: E402 - torch may be missing

from forge.base.errors import ModelError, RunError  # noqa: E402 - as above
from forge.ml.data.batch import Batch  # noqa: E402 - as above
from forge.ml.loss import CausalLoss  # noqa: E402 - as above
from forge.ml.models.causal import causal_lm  # noqa: E402 - as above
from forge.ml.parallel.pipeline_cut import Cut, _Elsewhere, check_cut, dissect  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above

GPTJ = {"n_embd": 32, "n_layer": 4, "n_head": 4, "vocab_size": 128, "n_positions": 64}
SMALL = {**SIZES, "num_hidden_layers": 4}
GEMMA4 = {
    **SMALL,
    "_target_": "transformers.Gemma4TextConfig",
    "head_dim": 8,
    "layer_types": ["full_attention"] * 4,
    "vocab_size_per_layer_input": 300,
}
# What lies between the last layer and the head has no weights; the config does not say how wide a network is; tokens are moved to
# where the embeddings are; embeddings are called by keyword; layers answer with a list; layers may be given more, and are not.
FURTHER: dict[str, dict[str, Any]] = {
    "olmo": {**FAMILIES["llama"], "_target_": "transformers.OlmoConfig"},
    "gptj": {"_target_": "transformers.GPTJConfig", **GPTJ, "rotary_dim": 4},
    "llama4": {**SMALL, "_target_": "transformers.Llama4TextConfig", "head_dim": 8, "num_local_experts": 4},
    "modernbert": {**SMALL, "_target_": "transformers.ModernBertDecoderConfig"},
    "gpt": {"_target_": "transformers.OpenAIGPTConfig", **GPTJ, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    "gemma4": {**GEMMA4, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
}
NO_STAGES = {
    "layers_given_embeddings": {**GEMMA4, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0},
    "layers_given_keys_of_others": {**GEMMA4, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2},
    "more_than_one_hidden_state": {
        **SMALL,
        "_target_": "transformers.Gemma3nTextConfig",
        "vocab_size_per_layer_input": 300,
        "num_kv_shared_layers": 0,
    },
}
for name in ("mlp_bias", "rms_norm_eps"):
    FURTHER["olmo"].pop(name, None)


def made(family: str) -> Any:
    settings = dict({**FAMILIES, **FURTHER, **NO_STAGES}[family])
    kind = getattr(transformers, settings.pop("_target_").rpartition(".")[2])
    return causal_lm(kind(**settings), attn_implementation="auto")


def batch() -> Batch:
    tokens = torch.arange(24).reshape(2, 12) % 90 + 3
    return Batch(tokens, tokens.roll(-1, 1), torch.arange(12).expand(2, 12), None, 24, 24)


def layout(pp: int, **rest: Any) -> Layout:
    return Layout(pp=pp, pp_schedule="1f1b", microbatches=pp, **rest)


def cut_of(model: Any, place: int, pp: int = 2) -> tuple[CausalLoss, Cut]:
    loss = CausalLoss(model)
    return loss, Cut(dissect(loss.head), layout(pp), place, 12, tuple(model.state_dict()))


def without_weights(model: Any) -> None:
    """Take the weights from what is elsewhere, as it is in a process of a run."""
    for module in model.modules():
        if isinstance(module, _Elsewhere):
            module.__dict__["instead_of"].to("meta")


def passed_through(family: str, stages: int) -> Any:
    """The loss of a batch that goes through stages, each a model that has nothing else."""
    hidden = None
    for place in range(stages):
        loss, cut = cut_of(made(family), place, stages)
        cut.take_out()
        without_weights(loss.model)
        with cut.passing(place, hidden):
            if place == stages - 1:
                return loss.total(batch())
            with cut.up_to_the_head():
                hidden = loss.model(input_ids=batch().input_ids, use_cache=False).detach()
    raise AssertionError


@pytest.mark.parametrize("family", [*FAMILIES, *FURTHER])
def test_stages_one_after_another_are_the_model(family: str) -> None:
    torch.testing.assert_close(passed_through(family, 3), CausalLoss(made(family)).total(batch()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("family", ["llama", "llama_tied", "gpt2", *FURTHER])
def test_stages_that_make_what_the_model_makes_are_let_through(family: str) -> None:
    _, cut = cut_of(made(family), 1, 3)
    check_cut(cut)


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("layers_given_embeddings", "given more than the hidden states"),
        ("layers_given_keys_of_others", "a stage alone fails with KeyError"),
        ("more_than_one_hidden_state", r"make hidden states of \(4, 1, 4, 32\) for 4 tokens"),
    ],
)
def test_layers_that_need_more_than_hidden_states_are_refused(family: str, why: str) -> None:
    _, cut = cut_of(made(family), 0)
    with pytest.raises(ModelError, match=why):
        check_cut(cut)


def test_what_a_process_does_not_need_is_taken_out() -> None:
    model = made("llama")
    _, cut = cut_of(model, 1)
    before = {name.split(".")[2] for name in model.state_dict() if "layers" in name}
    cut.take_out()
    names = model.state_dict().keys()
    assert {name.split(".")[2] for name in names if "layers" in name} < before
    assert "lm_head.weight" in names
    assert "model.embed_tokens.weight" not in names
    assert cut.has_last
    assert not cut.has_first


def test_both_ends_of_a_tied_model_have_the_weight_that_they_share() -> None:
    for place in (0, 1):
        model = made("llama_tied")
        _, cut = cut_of(model, place)
        cut.take_out()
        assert {"lm_head.weight", "model.embed_tokens.weight"} <= model.state_dict().keys()
        assert [tuple(each.shape) for each in cut.shared()] == [(300, 32)]


def test_what_is_elsewhere_cannot_be_called() -> None:
    model = made("llama")
    _, cut = cut_of(model, 0)
    cut.take_out()
    with pytest.raises(RunError, match="belongs to another process"):
        model(input_ids=batch().input_ids)


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(RunError, match="6 stages needs as many layers"):
        cut_of(made("llama"), 0, 6)


def test_stages_have_the_layers_that_are_named() -> None:
    loss = CausalLoss(made("llama"))
    layers = len(loss.model.model.layers)
    named = layout(2, stage_layers=(1, layers - 1))
    cut = Cut(dissect(loss.head), named, 1, 12, ())
    assert cut.bounds == [range(1), range(1, layers)]
    with pytest.raises(RunError, match=f"have {layers + 1} layers together, and the model has {layers}") as error:
        Cut(dissect(loss.head), layout(2, stage_layers=(1, layers)), 0, 12, ())
    assert "parallel.stage_layers" in str(error.value.hint)


def test_weights_that_belong_to_no_part_are_refused() -> None:
    model = made("llama")
    model.model.scale = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ModelError, match="weights of its own"):
        dissect(CausalLoss(model).head)
