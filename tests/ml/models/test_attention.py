"""Documents of one row do not see each other: the same loss and gradients as each of them alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tiny_sizes import TINY

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
attention = pytest.importorskip("forge.ml.models.attention")
loss = pytest.importorskip("forge.ml.loss")
data = pytest.importorskip("forge.ml.data.batch")
errors = pytest.importorskip("forge.base.errors")

_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
_KINDS = {
    "llama": {},
    "qwen3": {"head_dim": 16},
    "gemma2": {"head_dim": 8, "sliding_window": 6, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 4},
    "gemma3_text": {"head_dim": 8, "sliding_window": 6},
    "mistral": {"sliding_window": 5},
    "gpt2": _GPT2,
    "granite": {"attention_multiplier": 0.3, "residual_multiplier": 0.7},
    "mixtral": {},
    "deepseek_v3": {  # values are narrower than queries and keys
        "q_lora_rank": 16,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "n_shared_experts": 1,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    },
    "gpt_oss": {"head_dim": 8, "sliding_window": 6, "num_local_experts": 4},  # with sinks
}
_ALL = [
    (kind, name)
    for kind in _KINDS
    for name in ("eager", "sdpa", attention.DOCUMENTS)
    # gemma2 and gpt_oss have no sdpa; gpt_oss tells the mask of eager nothing of the documents
    if not (name == "sdpa" and kind in {"gemma2", "gpt_oss"}) and (kind, name) != ("gpt_oss", "eager")
]


def _model(kind: str, name: str, **more: Any) -> Any:
    config = transformers.AutoConfig.for_model(kind, **{**TINY, **_KINDS[kind], **more})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=name).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)  # what is seen shall make a difference
    return model


def _documents(seed: int, count: int = 7, longest: int = 24) -> list[tuple[Any, Any]]:
    """Tokens and targets, a part of which is not learned, as in conversations."""
    draw = random.Random(seed)
    found = []
    for length in [1, *(draw.randint(1, longest) for _ in range(count - 1))]:
        tokens = torch.tensor([draw.randint(3, 96) for _ in range(length)])
        learned = torch.tensor([draw.random() < 0.6 for _ in range(length - 1)] + [False])
        found.append((tokens, torch.where(learned, tokens.roll(-1), data.IGNORED)))
    return found


def _packed(documents: list[tuple[Any, Any]], rows: int = 1) -> Any:
    lengths = [len(tokens) for tokens, _ in documents]
    tokens, targets = (torch.cat(parts).view(rows, -1) for parts in zip(*documents, strict=True))
    positions = torch.cat([torch.arange(length) for length in lengths]).view(rows, -1)
    trained = int((targets != data.IGNORED).sum())
    return data.Batch(tokens, targets, positions, torch.tensor(lengths, dtype=torch.int32), tokens.numel(), trained)


def _alone(tokens: Any, targets: Any) -> Any:
    positions = torch.arange(len(tokens))[None]
    trained = int((targets != data.IGNORED).sum())
    return data.Batch(tokens[None], targets[None], positions, None, len(tokens), trained)


def _trained(model: Any, batches: list[Any]) -> tuple[Any, list[Any]]:
    compute = loss.CausalLoss(model)
    model.zero_grad()
    total = sum(compute.total(batch) for batch in batches)
    total.backward()
    return total.detach(), [each.grad for each in model.parameters()]


def _compare(kind: str, name: str, batch: Any, documents: list[Any], within: float = 1e-6) -> None:
    expected, theirs = _trained(_model(kind, "eager"), [_alone(*each) for each in documents])
    total, ours = _trained(_model(kind, name), [batch])
    torch.testing.assert_close(total, expected, rtol=within, atol=0)
    whole = torch.cat([each.flatten() for each in theirs if each is not None])
    difference = [one - other for one, other in zip(ours, theirs, strict=True) if other is not None]
    assert torch.cat([each.flatten() for each in difference]).norm() <= within * whole.norm()


@pytest.mark.filterwarnings("ignore:.*rope.*:UserWarning")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("kind", "name"), _ALL)
def test_packed_documents_train_as_they_do_alone(kind: str, name: str, seed: int) -> None:
    documents = _documents(seed)
    _compare(kind, name, _packed(documents), documents)


@pytest.mark.parametrize("name", ["eager", "sdpa", attention.DOCUMENTS])
def test_several_rows_of_documents(name: str) -> None:
    documents = _documents(1, count=3, longest=9)
    first = sum(len(tokens) for tokens, _ in documents)
    documents += [(tokens + 1, targets) for tokens, targets in reversed(documents)]
    batch = _packed(documents, rows=2)
    assert batch.input_ids.shape == (2, first)
    _compare("mistral", name, batch, documents)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_rows_of_one_document_need_no_lengths(kind: str) -> None:
    tokens = torch.arange(3, 27).view(2, 12)
    targets = tokens.roll(-1, 1)
    targets[0, -1] = targets[1, 8:] = data.IGNORED
    batch = data.Batch(tokens, targets, torch.arange(12).expand(2, -1), None, 21, int((targets >= 0).sum()))
    alone = [(tokens[0], targets[0]), (tokens[1, :9], targets[1, :9])]
    _compare(kind, attention.DOCUMENTS, batch, alone)


@pytest.mark.parametrize("name", ["eager", "sdpa", attention.DOCUMENTS])
def test_documents_that_see_each_other_are_found(name: str) -> None:
    attention.check_documents(_model("llama", name), name)
    bloom = transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=1, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(bloom)
    with pytest.raises(errors.ModelError, match="see each other in BloomForCausalLM"):
        attention.check_documents(model, name)


def test_a_model_that_fails_with_an_attention_is_refused_with_the_reason() -> None:
    model = _model("llama", attention.DOCUMENTS)
    missing: Any = None
    model.model.layers[1].register_forward_pre_hook(lambda *_: missing["mask"])
    with pytest.raises(
        errors.ModelError, match=r"(?s)packed row with attn_implementation .*not subscriptable.*sdpa, or eager"
    ):
        attention.check_documents(model, attention.DOCUMENTS)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_checkpointed_blocks_give_the_same(kind: str) -> None:
    batch = _packed(_documents(1))
    total, theirs = _trained(_model(kind, attention.DOCUMENTS), [batch])
    model = _model(kind, attention.DOCUMENTS)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, ours = _trained(model, [batch])
    assert torch.equal(total, again)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_autocast_is_near_to_float32() -> None:
    batch = _packed(_documents(1))
    total, _ = _trained(_model("llama", attention.DOCUMENTS), [batch])
    with torch.autocast("cpu", torch.bfloat16):
        low, _ = _trained(_model("llama", attention.DOCUMENTS), [batch])
    torch.testing.assert_close(low, total, rtol=3e-2, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself
def test_compiled_blocks_stay_whole_and_are_not_compiled_for_each_layout() -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    model = _model("llama", attention.DOCUMENTS, num_hidden_layers=1)
    plain = _model("llama", attention.DOCUMENTS, num_hidden_layers=1)
    for block in model.model.layers:
        block.compile(backend="aot_eager")  # what the compiler makes of the graphs is not ours
    for seed in range(7):
        batch = _packed(_documents(seed, count=3 + seed))
        total, ours = _trained(model, [batch])
        expected, theirs = _trained(plain, [batch])
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not counters["graph_break"]
    # Once for the first batch, and once more when the number of tokens or that of documents is first seen to vary.
    assert counters["stats"]["unique_graphs"] <= 3


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_text_is_generated_as_by_eager(kind: str) -> None:
    prompt = torch.arange(3, 15)[None]
    answers = [
        _model(kind, name).eval().generate(prompt, attention_mask=prompt > 0, max_new_tokens=6, do_sample=False)
        for name in ("eager", attention.DOCUMENTS)
    ]
    assert torch.equal(*answers)


def test_dropout_is_applied_inside_documents() -> None:
    documents = _documents(1)
    model = _model("gpt2", attention.DOCUMENTS, attn_pdrop=0.5)
    first, _ = _trained(model, [_packed(documents)])
    second, _ = _trained(model, [_packed(documents)])
    assert first != second
    attention.check_documents(model, attention.DOCUMENTS)


def test_the_kernel_of_a_gpu_is_given_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    given: dict[str, Any] = {}

    def kernel(query: Any, key: Any, value: Any, *bounds: Any, **settings: Any) -> Any:
        given.update(settings, shapes=[tuple(each.shape) for each in (query, key, value)], bounds=bounds)
        return query

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    query, key = torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8)
    bounds = torch.tensor([0, 6, 9, 12], dtype=torch.int32)
    out = attention._on_cuda(query, key, key, bounds, 0.5, 5, 6)
    assert torch.equal(out, query.transpose(1, 2))
    assert given["shapes"] == [(12, 4, 8), (12, 2, 8), (12, 2, 8)]
    assert (given["scale"], given["window_size"], given["enable_gqa"]) == (0.5, (4, 0), True)
    assert given["bounds"][2:] == (6, 6)


@pytest.mark.parametrize(
    ("requested", "packed", "model", "chosen"),
    [
        ("auto", True, None, attention.DOCUMENTS),
        ("auto", False, None, "sdpa"),
        ("eager", True, None, "eager"),
        ("auto", True, "LlamaForCausalLM", attention.DOCUMENTS),
        ("auto", True, "StableLmForCausalLM", "sdpa"),
        ("auto", False, "Gemma2ForCausalLM", "eager"),
    ],
)
def test_what_auto_is(requested: str, *, packed: bool, model: str | None, chosen: str) -> None:
    model_class = getattr(transformers, model) if model else None
    assert attention.choose_attention(requested, "cpu", packed=packed, model_class=model_class) == chosen


_CHUNKED = {
    "num_local_experts": 2,
    "intermediate_size_mlp": 16,
    "head_dim": 8,
    "pad_token_id": 0,
    "attention_chunk_size": 16,
    "floor_scale": 12,
    "layer_types": ["chunked_attention", "full_attention"],
}


@pytest.mark.parametrize(
    ("changes", "rows", "length", "more", "chosen"),
    [
        ({}, 1, 11, {"packed": True}, attention.DOCUMENTS),
        ({}, 2, 11, {"packed": False, "flat": True}, "sdpa"),
        ({}, 2, 11, {"packed": True, "flat": True}, "sdpa"),
        ({}, 1, 12, {"packed": False, "flat": True}, "sdpa"),
        ({"attn_temperature_tuning": False}, 1, 16, {"packed": True}, attention.DOCUMENTS),
        (
            {"attn_temperature_tuning": False, "layer_types": ["full_attention"] * 2},
            8,
            64,
            {"packed": True},
            attention.DOCUMENTS,
        ),
    ],
)
def test_a_model_that_counts_from_the_start_of_a_row_has_short_ones(
    changes: dict[str, Any], rows: int, length: int, more: dict[str, bool], chosen: str
) -> None:
    model = _of_chunks(**changes)
    assert attention.attention_for(model, "auto", "cpu", rows=rows, length=length, **more) == chosen


@pytest.mark.parametrize(
    ("requested", "length", "packed", "told"),
    [("auto", 12, True, "12"), (attention.DOCUMENTS, 11, False, "22"), ("sdpa", 12, True, "12")],
)
def test_or_is_refused(requested: str, length: int, *, packed: bool, told: str) -> None:
    with pytest.raises(
        errors.ModelError, match=rf"(?s)is right within 11 tokens; a row would have {told}.*packing: none"
    ):
        attention.attention_for(_of_chunks(), requested, "cpu", packed=packed, rows=2, length=length)


def test_alone_its_rows_may_be_longer() -> None:
    model = _of_chunks()
    assert attention.attention_for(model, "sdpa", "cpu", packed=False, rows=2, length=500) == "sdpa"
    llama = _model("llama", "eager")
    assert attention.attention_for(llama, "auto", "cpu", packed=True, rows=9, length=999) == attention.DOCUMENTS


def _of_chunks(**changes: Any) -> Any:
    config = transformers.AutoConfig.for_model("llama4_text", **{**TINY, **_CHUNKED, **changes})
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("flash", "cpu", "has no 'flash': it is one of auto"),
        ("flash_attention_2", "cpu", "flash_attention_2 does not train on a CPU"),
        ("flash_attention_2", "cuda", "needs the package flash_attn"),
        ("flex_attention", "cpu", "torch has no backward pass of it there"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(name: str, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention.choose_attention(name, device, packed=False)


def test_models_that_it_does_not_fit_are_refused_by_name() -> None:
    mamba = transformers.MambaForCausalLM
    with pytest.raises(errors.ModelError, match="MambaForCausalLM carries a state"):
        attention.choose_attention("auto", "cpu", packed=True, model_class=mamba)
    assert attention.choose_attention("auto", "cpu", packed=False, model_class=mamba) == "eager"
    query = torch.randn(1, 2, 8, 4)
    module = torch.nn.Module()
    with pytest.raises(errors.ModelError, match="bias for each pair"):
        attention._attend(module, query, query, query, None, position_bias=query)
    with pytest.raises(errors.ModelError, match="not causal"):
        attention._attend(module, query, query, query, None, is_causal=False)
    module.config = transformers.Qwen2MoeConfig(sliding_window=4, use_sliding_window=True)
    with pytest.raises(errors.ModelError, match="qwen2_moe tells its attention nothing of its window of 4"):
        attention._attend(module, query, query, query, None)


@pytest.mark.parametrize("name", ["eager", "flash_attention_2", attention.DOCUMENTS])
def test_a_model_is_given_positions_and_bounds(name: str) -> None:
    batch = _packed(_documents(1, count=3))
    inputs = attention.attention_inputs(batch, name)
    assert inputs.pop("use_cache") is False
    assert torch.equal(inputs.pop("position_ids"), batch.position_ids)
    if name != "eager":
        assert inputs.pop("cu_seq_lens_q").tolist() == inputs.pop("cu_seq_lens_k").tolist()
    assert not inputs or name == "flash_attention_2"


def test_documents_are_told_apart_where_weights_are_not_there_yet() -> None:
    causal = pytest.importorskip("forge.ml.models.causal")
    layers = ["conv", "full_attention"]
    config = transformers.AutoConfig.for_model("lfm2", **{**TINY, "block_ff_dim": 48, "layer_types": layers})
    with causal.deferred_weights():
        model = causal.causal_lm(config, attn_implementation=attention.DOCUMENTS)

    def look(whole: Any) -> None:
        attention.check_documents(whole, attention.DOCUMENTS)

    with pytest.raises(errors.ModelError, match="see each other"):
        causal.materialise_spread(model, torch.device("cpu"), look, lambda _: None)
