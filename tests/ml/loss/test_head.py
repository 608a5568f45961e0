"""The seam between trunk and head is found in models of all kinds, and left as it was."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
head = pytest.importorskip("forge.ml.loss.head")

_SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _model(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **_SIZES, **more))


@pytest.mark.parametrize(
    ("kind", "more", "linear"),
    [
        ("llama", {}, True),
        ("llama4_text", {"head_dim": 8, "intermediate_size_mlp": 24, "num_local_experts": 2}, True),
        ("phi", {}, True),  # its head has a bias
        ("mixtral", {}, True),
        ("granite", {"logits_scaling": 3.0}, False),
        ("cohere", {"logit_scale": 0.0625}, False),
        ("gemma2", {"head_dim": 8, "final_logit_softcapping": 1.0, "attn_implementation": "eager"}, False),
    ],
)
def test_a_head_is_linear_when_nothing_comes_after_it(kind: str, more: dict[str, Any], *, linear: bool) -> None:
    found = head.Head(_model(kind, **more))
    assert found.is_separable()
    assert found.is_linear() is linear


@pytest.mark.parametrize("kind", ["llama", "granite"])
def test_the_tail_is_the_models_own(kind: str) -> None:
    model = _model(kind).eval()
    tokens = torch.arange(7)[None]
    seen: list[Any] = []
    hook = model.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        logits = model(input_ids=tokens).logits[0]
        hook.remove()
        assert torch.equal(head.Head(model).tail(seen[0][0]), logits)


def test_an_answer_is_computed_inside_the_call_of_the_model() -> None:
    model = _model("llama")
    order: list[str] = []
    model.register_forward_pre_hook(lambda *_: order.append("model"))
    model.lm_head.register_forward_pre_hook(lambda *_: order.append("head"))
    model.lm_head.register_forward_hook(lambda *_: order.append("head done"))
    model.register_forward_hook(lambda *_: order.append("model done"))

    def compute(hidden: Any) -> Any:
        order.append("answer")
        return hidden.sum()

    found = head.Head(model)
    with found.answering(compute):
        answer = model(input_ids=torch.arange(5)[None])
    assert order == ["model", "head", "answer", "head done", "model done"]
    assert answer.shape == ()
    assert "forward" not in vars(model)
    assert "forward" not in vars(model.lm_head)


def test_what_was_replaced_comes_back_after_a_failure() -> None:
    model = _model("llama")
    own = model.lm_head.forward
    model.lm_head.forward = own  # as accelerate does it
    found = head.Head(model)

    def fail(_: Any) -> Any:
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"), found.answering(fail):
        model(input_ids=torch.arange(5)[None])
    assert vars(model.lm_head)["forward"] is own
    assert "forward" not in vars(model)


def test_a_model_that_multiplies_by_its_embedding_itself_is_not_separable() -> None:
    model = _model("llama")

    def forward(input_ids: Any, **_: Any) -> Any:
        hidden = model.model(input_ids=input_ids).last_hidden_state
        return transformers.modeling_outputs.CausalLMOutputWithPast(logits=hidden @ model.lm_head.weight.T)

    model.forward = forward
    assert not head.Head(model).is_separable()


def test_parameters_are_those_after_the_trunk() -> None:
    model = _model("llama")
    model.logit_scale = torch.nn.Parameter(torch.ones(()))
    found = head.Head(model)
    assert {id(each) for each in found.parameters} == {id(model.lm_head.weight), id(model.logit_scale)}
    assert not found.is_linear()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_wrappers_are_looked_through() -> None:
    model = _model("llama")
    assert head.causal_model(torch.compile(model)) is model


# peft asks transformers for a name that transformers is about to drop; neither is ours to change.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(("more", "linear"), [({"modules_to_save": ["lm_head"]}, True), ({}, False)])
def test_adapters_on_the_head_are_seen(more: dict[str, Any], *, linear: bool) -> None:
    peft = pytest.importorskip("peft")
    targets = ["q_proj"] if linear else ["q_proj", "lm_head"]
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets, **more)
    model = peft.get_peft_model(_model("llama"), config)
    found = head.Head(model)
    assert found.is_separable()
    assert found.is_linear() is linear
    assert all(each.requires_grad for each in found.parameters)
    assert len(found.parameters) == (1 if linear else 2)


@pytest.mark.parametrize("kind", ["granite", "cohere", "gemma2"])
def test_what_is_behind_the_head_works_on_each_logit_by_itself(kind: str) -> None:
    model = _model(kind)
    found = head.Head(model)
    hidden = torch.randn(3, model.config.hidden_size)
    with torch.no_grad():
        logits = found.tail(hidden)
        assert torch.equal(found.behind(found.linear(hidden)), logits)
        assert torch.equal(found.behind(found.linear(hidden)[:, 5:]), logits[:, 5:])
    assert found.is_elementwise()


def test_a_softmax_behind_the_head_is_seen() -> None:
    model = _model("llama")
    forward = model.forward

    def normalised(**arguments: Any) -> Any:
        answer = forward(**arguments)
        answer.logits = answer.logits.log_softmax(-1)
        return answer

    model.forward = normalised
    assert head.Head(model).is_separable()
    assert not head.Head(model).is_elementwise()
