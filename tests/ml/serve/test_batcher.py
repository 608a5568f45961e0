from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
from transformers import AutoModelForCausalLM, BloomConfig, GenerationConfig, LlamaConfig, MistralConfig  # noqa: E402 - needs torch

from forge.base.errors import ModelError  # noqa: E402 - what follows needs torch
from forge.ml.serve.batcher import Batcher, BatcherLimits  # noqa: E402
from forge.ml.serve.engine import Ended, EngineBusy, RequestRefused, Sampled, Sampling, Work  # noqa: E402
from forge.ml.serve.grammar import Grammars  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.ml.serve.model_folder import ServedModel

pytestmark = pytest.mark.torch
SIZES = {
    "vocab_size": 261,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": 0,
}


def _model(config: Any = None) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config or LlamaConfig(**SIZES), attn_implementation="sdpa").eval()


class Listener:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.sampled: list[Sampled] = []
        self.ended: Ended | None = None
        self.done = threading.Event()

    def __call__(self, word: Sampled | Ended) -> None:
        if isinstance(word, Sampled):
            self.sampled.append(word)
            self.tokens.append(word.token)
        else:
            self.ended = word
            self.done.set()

    def wait(self) -> Listener:
        assert self.done.wait(60)
        return self


@pytest.fixture
def begin() -> Iterator[Callable[..., Batcher]]:
    begun: list[Batcher] = []

    def make(model: Any = None, grammars: Any = None, pooling: str = "", **limits: int) -> Batcher:
        values = {"longest": 512, **limits}
        begun.append(Batcher(model or _model(), BatcherLimits(**values), grammars=grammars, pooling=pooling))
        begun[-1].start()
        return begun[-1]

    yield make
    for batcher in begun:
        batcher.close()


def _submit(batcher: Batcher, prompt: Sequence[int], **sampling: Any) -> Listener:
    heard = Listener()
    values = {"max_tokens": 8, "temperature": 0.0, **sampling}
    batcher.submit(Work(tuple(prompt), Sampling(**values)), heard)
    return heard


def _greedy(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    config = GenerationConfig(do_sample=False, max_new_tokens=count, pad_token_id=0)
    ids = torch.tensor([list(prompt)])
    return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0, len(prompt) :].tolist()


PROMPTS = [[7 + number] * 3 + list(range(10, 20 + 11 * number)) for number in range(9)]


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        MistralConfig(**SIZES, sliding_window=16),
    ],
    ids=["llama", "mistral with a window"],
)
@pytest.mark.parametrize("limits", [{}, {"prefill": 16}, {"slots": 3}, {"cached": 400}], ids=str)
def test_many_texts_at_a_time_are_what_each_is_alone(
    begin: Callable[..., Batcher], config: Any, limits: dict[str, int]
) -> None:
    model = _model(config)
    wanted = [_greedy(model, prompt, 5 + 3 * number) for number, prompt in enumerate(PROMPTS)]
    batcher = begin(model, **limits)
    found = [_submit(batcher, prompt, max_tokens=5 + 3 * number) for number, prompt in enumerate(PROMPTS)]
    assert [one.wait().tokens for one in found] == wanted
    assert {one.ended.reason for one in found if one.ended} == {"length"}
    assert (batcher.load.running, batcher.load.waiting) == (0, 0)


def test_texts_that_come_and_go_do_not_disturb_others(
    begin: Callable[..., Batcher], until: Callable[..., None]
) -> None:
    model = _model()
    batcher = begin(model, prefill=8)
    first = _submit(batcher, PROMPTS[0], max_tokens=120)
    until(lambda: len(first.tokens) > 3)
    gone = Listener()
    number = batcher.submit(Work(tuple(PROMPTS[8]), Sampling(max_tokens=300, temperature=0)), gone)
    second = _submit(batcher, PROMPTS[5], max_tokens=60)
    until(lambda: len(second.tokens) > 3)
    batcher.cancel(number)
    third = _submit(batcher, PROMPTS[3], max_tokens=20)
    for one, prompt, count in [(first, 0, 120), (second, 5, 60), (third, 3, 20)]:
        assert one.wait().tokens == _greedy(model, PROMPTS[prompt], count)
    assert gone.wait().ended == Ended("cancelled")


def test_texts_give_way_when_there_is_no_room_and_come_again(begin: Callable[..., Batcher]) -> None:
    model = _model()
    batcher = begin(model, cached=320)
    found = [
        _submit(batcher, prompt, max_tokens=100, temperature=1.0, seed=number, frequency_penalty=0.5)
        for number, prompt in enumerate(PROMPTS[:6])
    ]
    several = [one.wait().tokens for one in found]
    roomy = begin(model)
    unhindered = [
        _submit(roomy, prompt, max_tokens=100, temperature=1.0, seed=number, frequency_penalty=0.5)
        for number, prompt in enumerate(PROMPTS[:6])
    ]
    assert [one.wait().tokens for one in unhindered] == several
    assert batcher._steps.free == 320


def test_a_talk_is_not_read_again_at_its_next_turn(begin: Callable[..., Batcher]) -> None:
    model = _model()
    batcher = begin(model)
    read: list[int] = []
    real = model.forward
    model.forward = lambda **given: read.append(given["input_ids"].shape[1]) or real(**given)
    said = _submit(batcher, PROMPTS[8], max_tokens=20).wait().tokens
    first = sum(read)
    again = [*PROMPTS[8], *said, 9, 9]
    read.clear()
    assert _submit(batcher, again, max_tokens=1).wait().tokens == _greedy(_model(), again, 1)
    assert sum(read) < 20 < first


def test_a_model_that_fails_with_pages_is_refused_at_its_start() -> None:
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=97, hidden_size=32, n_layer=1, n_head=4))
    batcher = Batcher(model, BatcherLimits())
    with pytest.raises(ModelError, match="cannot be kept in pages"):
        batcher.start()


def test_a_text_ends_at_its_stop_token(begin: Callable[..., Batcher]) -> None:
    model = _model()
    wanted = _greedy(model, PROMPTS[2], 8)
    stop = next(token for token in wanted if token != wanted[0])
    heard = _submit(begin(model), PROMPTS[2], stop_tokens=frozenset([stop])).wait()
    assert (heard.tokens, heard.ended) == (wanted[: wanted.index(stop)], Ended("stop"))


def test_a_seed_repeats_a_text(begin: Callable[..., Batcher]) -> None:
    batcher = begin()
    found = [_submit(batcher, PROMPTS[1], temperature=1.0, seed=seed, max_tokens=20) for seed in (1, 2, 1)]
    first, second, third = (one.wait().tokens for one in found)
    assert first == third != second
    told = _submit(batcher, PROMPTS[1], top_logprobs=3).wait().sampled[0]
    assert (told.top[0][0], len(told.top)) == (told.token, 3)


def test_too_many_and_too_long_are_refused(begin: Callable[..., Batcher]) -> None:
    batcher = begin(slots=1, waiting=1)
    with pytest.raises(RequestRefused, match="512 at most"):
        _submit(batcher, [5] * 510, max_tokens=3)
    heard: list[Listener] = []

    def submit_many() -> None:
        for _ in range(50):
            heard.append(_submit(batcher, PROMPTS[0], max_tokens=400))

    with pytest.raises(EngineBusy, match="wait already"):
        submit_many()
    batcher.close()
    assert {one.wait().ended for one in heard} == {Ended("cancelled")}
    with pytest.raises(EngineBusy, match="ending"):
        _submit(batcher, PROMPTS[0])


@pytest.mark.skipif(importlib.util.find_spec("llguidance") is None, reason="needs the extra serve")
def test_a_text_is_held_to_a_schema(begin: Callable[..., Batcher], served_model: ServedModel) -> None:
    grammars = Grammars(served_model.tokenizer, served_model.ends, 261)
    schema = (
        '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": false}'
    )
    batcher = begin(grammars=grammars)
    heard = _submit(batcher, PROMPTS[0], schema=schema, temperature=1.0, seed=1, max_tokens=40).wait()
    assert served_model.tokenizer.decode(heard.tokens) in ('{"a":true}', '{"a":false}')
    assert heard.ended == Ended("stop")
    with pytest.raises(RequestRefused, match="no text to a schema"):
        _submit(begin(), PROMPTS[0], schema=schema)


def test_embeddings_are_of_length_one_and_of_the_text_alone(begin: Callable[..., Batcher]) -> None:
    model = _model()
    batcher = begin(model, pooling="mean")
    found = batcher.embed(PROMPTS[:2]).result(60)
    states = model.base_model(torch.tensor([PROMPTS[0]])).last_hidden_state[0].mean(0)
    assert found[0] == pytest.approx((states / states.norm()).tolist(), abs=1e-5)
    assert begin(model, pooling="last").embed(PROMPTS[:1]).result(60) != [found[0]]
    with pytest.raises(RequestRefused, match="--pooling"):
        begin(model).embed(PROMPTS)
    with pytest.raises(RequestRefused, match="512 tokens"):
        batcher.embed([[1] * 600])


def test_another_model_takes_over_between_texts(begin: Callable[..., Batcher], until: Callable[..., None]) -> None:
    first, second = _model(), _model()
    with torch.no_grad():
        for weight in second.parameters():
            weight.mul_(-1.3)
    batcher = begin(first)
    before = _submit(batcher, PROMPTS[0], max_tokens=40)
    until(lambda: before.tokens)
    swapped = batcher.replace_model(second)
    after = _submit(batcher, PROMPTS[0])
    assert before.wait().tokens == _greedy(first, PROMPTS[0], 40)
    assert swapped.result(60) is None
    assert after.wait().tokens == _greedy(second, PROMPTS[0], 8)


def test_no_text_is_begun_by_one_model_and_ended_by_another(
    begin: Callable[..., Batcher], until: Callable[..., None]
) -> None:
    first, second = _model(), _model()
    with torch.no_grad():
        for weight in second.parameters():
            weight.mul_(-1.3)
    batcher = begin(first, cached=192)  # so that some have to give way
    found = [_submit(batcher, prompt, max_tokens=40) for prompt in PROMPTS[:6]]
    until(lambda: found[1].tokens)
    swapped = batcher.replace_model(second)
    for prompt, one in zip(PROMPTS, found, strict=False):
        said = one.wait().tokens
        assert any(said == _greedy(model, prompt, 40) for model in (first, second))
    assert swapped.result(60) is None


def test_an_engine_that_breaks_tells_everybody(begin: Callable[..., Batcher], caplog: pytest.LogCaptureFixture) -> None:
    model = _model()
    batcher = begin(model)
    model.forward = None
    heard = _submit(batcher, PROMPTS[0]).wait()
    assert heard.ended == Ended("error", "the engine failed")
    batcher.close()
    assert not batcher.load.alive
    assert "the engine failed" in caplog.text


def test_a_model_with_another_memory_is_refused() -> None:
    config = LlamaConfig(**SIZES)
    config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ModelError, match="linear_attention"):
        Batcher(_model(), BatcherLimits()).__class__(
            type("M", (torch.nn.Linear,), {"config": config})(1, 1), BatcherLimits()
        )
