"""The loss of a batch equals that of whole logits, for models of all kinds and however they are run."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from tiny_sizes import TINY

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.loss.causal")
attention = pytest.importorskip("forge.ml.models.attention")
errors = pytest.importorskip("forge.base.errors")
data = pytest.importorskip("forge.ml.data.batch")

_KINDS = {
    "llama": {},
    "phi": {},
    "granite": {"logits_scaling": 3.0, "residual_multiplier": 0.7, "attention_multiplier": 0.3},
    "cohere": {"logit_scale": 0.0625},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 1.0, "attn_logit_softcapping": 2.0, "sliding_window": 6},
}
_EXACT = 2e-6


def _model(kind: str, dtype: Any = None) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **TINY, **_KINDS[kind])
    name = attention.DOCUMENTS
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=name).train()


def _batch(lengths: tuple[int, ...] = (3, 17, 1, 9), ignored: float = 0.4, *, packed: bool = True) -> Any:
    generator = torch.Generator().manual_seed(sum(lengths))
    total = sum(lengths)
    tokens = torch.randint(3, 97, (total,), generator=generator)
    targets = tokens.roll(-1)
    targets[torch.rand(total, generator=generator) < ignored] = data.IGNORED
    targets[torch.tensor(lengths).cumsum(0) - 1] = data.IGNORED
    positions = torch.cat([torch.arange(length) for length in lengths])
    shape = (1, total) if packed else (2, total // 2)
    return data.Batch(
        tokens.view(shape),
        targets.view(shape),
        positions.view(shape) if packed else torch.arange(total // 2).expand(2, -1),
        torch.tensor(lengths, dtype=torch.int32) if packed else None,
        total,
        int((targets != data.IGNORED).sum()),
    )


def _plain(model: Any, batch: Any) -> Any:
    inputs = attention.attention_inputs(batch, attention.DOCUMENTS)
    logits = model(input_ids=batch.input_ids, **inputs).logits.float().flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, batch.targets.flatten(), reduction="sum")


def _gradients(model: Any, loss: Any) -> list[Any]:
    model.zero_grad()
    (loss / 7).backward()
    return [each.grad.clone() for each in model.parameters() if each.requires_grad]


def _check(model: Any, batch: Any, within: float = _EXACT, run: Any = nullcontext) -> str:
    loss = causal.CausalLoss(model)
    with run():
        mine = loss.total(batch)
    ours = _gradients(model, mine)
    with run():
        plain = _plain(model, batch)
    theirs = _gradients(model, plain)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, plain, rtol=max(within / 10, 1e-6), atol=0)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= within * other.norm() + 1e-6
    return loss.kind


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", _KINDS)
def test_loss_and_gradients_are_those_of_whole_logits(kind: str, *, packed: bool) -> None:
    used = _check(_model(kind), _batch(packed=packed))
    assert used == ("linear" if kind in {"llama", "phi"} else "logits")


@pytest.mark.parametrize("kind", ["linear", "logits", "whole"])
def test_each_kind_gives_the_same_loss(kind: str) -> None:
    model, batch = _model("llama"), _batch()
    mine = causal.CausalLoss(model, kind).total(batch)
    torch.testing.assert_close(mine, _plain(model, batch), rtol=1e-6, atol=0)


@pytest.mark.parametrize("ignored", [0.0, 1.0])
def test_all_or_no_token_trained(ignored: float) -> None:
    model, batch = _model("llama"), _batch((4,), ignored)
    if not ignored:
        batch.targets[batch.targets == data.IGNORED] = 5
        batch.trained = 4
    _check(model, batch)
    if ignored:
        loss = causal.CausalLoss(model).total(batch)
        assert loss.item() == 0
        assert all(not gradient.any() for gradient in _gradients(model, loss))


def test_one_trained_token() -> None:
    batch = _batch((6,), 1.0)
    batch.targets[0, 2], batch.trained = 7, 1
    _check(_model("granite"), batch)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_tied_heads(kind: str) -> None:
    model = _model(kind)
    model.lm_head.weight = model.get_input_embeddings().weight
    _check(model, _batch())


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_bfloat16_and_autocast(kind: str) -> None:
    _check(_model(kind, torch.bfloat16), _batch(), within=3e-2)
    _check(_model(kind), _batch(), within=3e-2, run=lambda: torch.autocast("cpu", torch.bfloat16))


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(kind: str, *, reentrant: bool) -> None:
    model = _model(kind)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    _check(model, _batch())


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Model has `tie_word:UserWarning"
)
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("more", [{}, {"modules_to_save": ["lm_head"]}, {"target_modules": ["q_proj", "lm_head"]}])
def test_adapters(kind: str, more: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(**{"task_type": "CAUSAL_LM", "r": 2, "target_modules": ["q_proj", "down_proj"], **more})
    _check(peft.get_peft_model(_model(kind), config), _batch())


def test_distributed_data_parallel_reduces_what_the_loss_gives(tmp_path: Any) -> None:
    file = f"file://{tmp_path}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=file, rank=0, world_size=1)
    try:
        model, batch = _model("llama"), _batch()
        plain = _gradients(model, _plain(model, batch))
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        mine = _gradients(model, causal.CausalLoss(wrapped).total(batch))
        for one, other in zip(mine, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    finally:
        torch.distributed.destroy_process_group()


def test_evaluation_differentiates_nothing() -> None:
    model, batch = _model("gemma2"), _batch()
    with torch.no_grad():
        mine = causal.CausalLoss(model).total(batch)
        torch.testing.assert_close(mine, _plain(model, batch), rtol=1e-6, atol=0)
    assert not mine.requires_grad


def test_a_kind_that_the_model_cannot_have_is_refused() -> None:
    with pytest.raises(errors.ModelError, match="not of the kind 'linear'"):
        causal.CausalLoss(_model("granite"), "linear")
    with pytest.raises(ValueError, match="loss has no kind 'fast'"):
        causal.CausalLoss(_model("llama"), "fast")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_tokens_put_before_a_prompt_are_refused() -> None:
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = peft.get_peft_model(_model("llama"), config)
    with pytest.raises(errors.ModelError, match="tokens of shape"):
        causal.CausalLoss(model).total(_batch((4, 4), packed=False))


@pytest.mark.parametrize("packed", [True, False])
def test_padding_is_expected(monkeypatch: pytest.MonkeyPatch, *, packed: bool) -> None:
    def warn(text: str, *_: Any) -> None:
        raise AssertionError(text)

    monkeypatch.setattr("transformers.modeling_utils.logger.warning_once", warn)
    config = transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2, pad_token_id=0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention.DOCUMENTS)
    batch = _batch(packed=packed)
    batch.input_ids[:, -1] = 0
    causal.CausalLoss(model).total(batch)


def test_a_cpu_meets_few_lengths() -> None:
    lengths = torch.tensor([3, 5], dtype=torch.int32)
    tokens, positions = torch.arange(8)[None], torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]])
    row = data.Batch(tokens, tokens.clone(), positions, lengths, tokens=8, trained=8)
    rounded = causal._rounded(row)
    assert rounded.input_ids.shape == rounded.targets.shape == rounded.position_ids.shape == (1, 128)
    assert rounded.lengths.tolist() == [3, 5, 120]
    assert (rounded.targets[0, 8:] == data.IGNORED).all()
    assert rounded.position_ids[0, 8:].tolist() == [0, 1, 2, 3, *[4] * 116]  # no further than the others
    _, kept = causal._trained(torch.zeros(1, 128, 4), rounded)
    assert len(kept) == 128
    assert causal._rounded(rounded) is rounded


class _Cut:
    """A model cut into pieces of sequences, for what the loss asks of it."""

    loss_parallel = False
    row_multiple = 6


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_can_be_cut_into_equal_pieces(rows: int) -> None:
    model = _model("llama")
    loss = causal.CausalLoss(model)
    model.tensor_cut = _Cut()
    batch = _batch((5, 2, 4, 3))
    batch = data.Batch(
        batch.input_ids.view(rows, -1),
        batch.targets.view(rows, -1),
        batch.position_ids.view(rows, -1),
        batch.lengths,
        batch.tokens,
        batch.trained,
    )
    found = loss.rounded(batch)
    width = found.input_ids.shape[1]
    assert width % 6 == 0
    assert int(found.lengths.sum()) == rows * width == found.targets.numel() == found.position_ids.numel()
    assert int((found.targets != data.IGNORED).sum()) == batch.trained
    if rows == 2:  # each row ends with a document of its own
        assert found.lengths.tolist() == [5, 2, 5, 4, 3, 5]


def test_logits_that_depend_on_one_another_are_not_divided() -> None:
    model = _model("llama")
    loss = causal.CausalLoss(model, kind="whole")
    model.tensor_cut = _Cut()
    model.tensor_cut.loss_parallel = True
    with pytest.raises(errors.ModelError, match="are not made one by one"):
        loss.total(_batch())
