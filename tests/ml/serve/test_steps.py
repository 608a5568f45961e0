from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
from tiny_sizes import TINY  # noqa: E402 - what follows needs torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: E402

from forge.base.errors import ModelError  # noqa: E402
from forge.ml.serve.engine import Ended, Sampled, Sampling, Work  # noqa: E402
from forge.ml.serve.sampler import Choosing  # noqa: E402
from forge.ml.serve.steps import GrowingText, Steps  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def _steps(**changes: int) -> Steps:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**TINY, "vocab_size": 261, "eos_token_id": None}))
    return Steps(model, **{"slots": 4, "prefill": 32, "tokens": 256, "longest": 64, **changes})


def _text(number: int, prompt: range, count: int, words: list[Any] | None = None) -> GrowingText:
    sampling = Sampling(count, temperature=0.0)
    heard = (lambda _word: None) if words is None else words.append
    return GrowingText(number, Work(tuple(prompt), sampling), heard, Choosing(sampling, tuple(prompt)), list(prompt))


def _finish(steps: Steps, waiting: list[GrowingText]) -> list[int]:
    """Work until nothing is left; the numbers of those that gave way."""
    gave_way = []
    while waiting or steps.texts:
        while waiting and steps.fits(waiting[0]):
            steps.take_in(waiting.pop(0))
        back = steps.step()
        gave_way += [text.number for text in back]
        waiting = [*back, *waiting]
    return gave_way


def test_a_text_is_read_and_grows() -> None:
    steps, words = _steps(prefill=8), []
    text = _text(1, range(10, 30), 3, words)
    assert (steps.fits(text), text.whole, text.under_way) == (True, 23, False)
    steps.take_in(text)
    steps.step()
    assert (text.read, words) == (8, [])
    assert _finish(steps, []) == []
    assert text.under_way
    assert [type(word) for word in words] == [Sampled, Sampled, Sampled, Ended]
    assert (steps.texts, steps.free) == ([], 256)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_attention_computes_the_same(attention: str) -> None:
    plain, other = _steps(), _steps()
    other._model.set_attn_implementation(attention)
    texts = [[_text(number, range(9 * number, 16 * number), 6) for number in (1, 2, 3)] for _ in range(2)]
    for steps, some in zip((plain, other), texts, strict=True):
        _finish(steps, list(some))
    assert [text.tokens for text in texts[0]] == [text.tokens for text in texts[1]]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("falcon", {"multi_query": True, "new_decoder_architecture": False}),
        ("gpt_oss", {"head_dim": 8, "sliding_window": 6, "num_local_experts": 4}),
        (
            "deepseek_v2",
            {
                "q_lora_rank": None,
                "kv_lora_rank": 8,
                "qk_rope_head_dim": 4,
                "qk_nope_head_dim": 8,
                "v_head_dim": 6,
                "num_key_value_heads": 4,
                "first_k_dense_replace": 2,
            },
        ),
    ],
)
def test_keys_and_values_of_any_size_give_the_texts_of_the_model_alone(kind: str, more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**TINY, "vocab_size": 261, "eos_token_id": None, **more})
    model = AutoModelForCausalLM.from_config(config).eval()
    steps = Steps(model, slots=4, prefill=16, tokens=256, longest=64)
    steps.try_out()
    texts = [_text(number, range(9 * number, 16 * number), 6) for number in (1, 2, 3)]
    alone = [list(text.tokens) for text in texts]
    _finish(steps, list(texts))
    for tokens in alone:
        for _ in range(6):
            tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
    assert [text.tokens for text in texts] == alone


def test_a_model_that_fails_with_pages_is_refused() -> None:
    torch.manual_seed(0)
    bloom = AutoModelForCausalLM.from_config(AutoConfig.for_model("bloom", **TINY))
    steps = Steps(bloom, slots=1, prefill=16, tokens=64, longest=32)
    with pytest.raises(ModelError, match=r"(?s)cannot be kept in pages.*--engine vllm"):
        steps.try_out()


def test_the_youngest_gives_way_and_goes_on_later() -> None:
    alone = [_text(number, range(20 * number, 20 * number + 20), 28) for number in (1, 2, 3)]
    for text in alone:
        _finish(_steps(), [text])
    together = [_text(number, range(20 * number, 20 * number + 20), 28) for number in (1, 2, 3)]
    gave_way = _finish(_steps(tokens=96, longest=48), list(together))
    assert set(gave_way) == {3}
    assert [text.tokens for text in together] == [text.tokens for text in alone]


def test_a_text_that_is_let_go_leaves_its_room() -> None:
    steps = _steps(slots=1)
    first, second = _text(1, range(20), 9), _text(2, range(20), 9)
    steps.take_in(first)
    steps.step()
    assert not steps.fits(second)
    assert steps.let_go([1, 7]) == [first]
    assert steps.fits(second)
    assert steps.free == 80


def test_another_model_knows_nothing_of_what_was_read() -> None:
    steps = _steps()
    text = _text(1, range(40), 2)
    _finish(steps, [text])
    other = _steps()
    with torch.no_grad():
        for weight in other._model.parameters():
            weight.mul_(-1.3)
    steps.use(other._model)
    again, wanted = _text(2, range(40), 6), _text(2, range(40), 6)
    _finish(steps, [again])
    _finish(other, [wanted])
    assert again.tokens == wanted.tokens
