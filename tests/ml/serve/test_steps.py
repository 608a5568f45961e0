from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
from tiny_sizes import TINY  # noqa: E402 - what follows needs torch
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

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
