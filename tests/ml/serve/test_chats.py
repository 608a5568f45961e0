from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.serve.chats import Service, answer_chat, answer_completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Running

openai = pytest.importorskip("openai")
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_both_kinds_of_answers_are_for_a_service() -> None:
    assert Service.__slots__
    assert callable(answer_chat)
    assert callable(answer_completion)


def test_a_chat_is_answered(client: Any, server: Running) -> None:
    found = client.chat.completions.create(model="small", messages=HI, max_tokens=12, seed=7, temperature=0.5)
    assert (
        found.choices[0].message.content == "system\nYou "
    )  # the engine says what it was asked, without special tokens
    assert found.choices[0].finish_reason == "length"
    assert (found.usage.completion_tokens, found.usage.total_tokens) == (12, found.usage.prompt_tokens + 12)
    sampling = server.engine.asked[-1].sampling
    assert (sampling.seed, sampling.temperature, sampling.max_tokens) == (7, 0.5, 12)


def test_a_chat_is_streamed(client: Any) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    pieces = list(client.chat.completions.create(model="small", messages=HI, max_tokens=12, **options))
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "system\nYou "
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "length"
    assert (pieces[-1].choices, pieces[-1].usage.completion_tokens) == ([], 12)
    assert len({piece.id for piece in pieces}) == 1


def test_several_answers_have_seeds_of_their_own(client: Any, server: Running) -> None:
    found = client.chat.completions.create(model="small", messages=HI, max_tokens=3, n=3, seed=5)
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    assert found.usage.completion_tokens == 9
    assert sorted(work.sampling.seed for work in server.engine.asked[-3:]) == [5, 6, 7]


def test_a_stop_string_ends_an_answer_and_its_work(client: Any, server: Running, until: Callable[..., None]) -> None:
    before = len(server.engine.cancelled)
    found = client.completions.create(model="small", prompt="one two three ", max_tokens=60, stop=["three"])
    assert (found.choices[0].text, found.choices[0].finish_reason) == ("one two ", "stop")
    until(lambda: len(server.engine.cancelled) > before)
    pieces = client.completions.create(model="small", prompt="one two three ", stop="tw", stream=True, max_tokens=60)
    assert "".join(piece.choices[0].text for piece in pieces) == "one "


def test_probabilities_are_told(client: Any) -> None:
    found = client.chat.completions.create(model="small", messages=HI, max_tokens=4, logprobs=True, top_logprobs=2)
    first = found.choices[0].logprobs.content[1]
    assert (first.token, first.bytes, first.logprob, len(first.top_logprobs)) == ("s", [115], -0.5, 2)
    text = client.completions.create(model="small", prompt="abc", max_tokens=3, logprobs=1).choices[0].logprobs
    assert (text.tokens, text.text_offset, text.top_logprobs[0]) == (["a", "b", "c"], [0, 1, 2], {"a": -0.5})


def test_prompts_may_be_texts_or_tokens_one_or_many(client: Any) -> None:
    for prompt, said in [
        ("abcd", ["abcd"]),
        (["ab", "cd"], ["abab", "cdcd"]),
        ([69, 70], None),
        ([[69, 70], [71]], None),
    ]:
        found = client.completions.create(model="small", prompt=prompt, max_tokens=4)
        assert said is None or [choice.text for choice in found.choices] == said
        assert len(found.choices) == (2 if isinstance(prompt[0], list) or (said is not None and len(said) == 2) else 1)
    echoed = client.completions.create(model="small", prompt=["ab", "c"], max_tokens=2, echo=True, n=2)
    assert [choice.text for choice in echoed.choices] == ["abab", "abab", "ccc", "ccc"]


def test_a_call_of_a_tool_is_read(client: Any) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    asked = {"model": "small", "messages": [{"role": "user", "content": call}], "tools": [TOOL], "max_tokens": 1200}
    found = client.chat.completions.create(**asked, stop=["<|im_end|>"])
    assert found.choices[0].finish_reason == "tool_calls"
    assert [json.loads(one.function.arguments) for one in found.choices[0].message.tool_calls][-1] == {"a": 1}
    pieces = list(client.chat.completions.create(**asked, stream=True))
    calls = [one for piece in pieces for one in piece.choices[0].delta.tool_calls or []]
    assert calls[0].function.name == "f"


def test_what_cannot_be_done_is_refused_with_the_reason(client: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    for change, reason in [
        ({"response_format": schema}, "holds no text to a schema"),
        ({"response_format": {"type": "json_object"}}, "holds no text to a schema"),
        ({"tools": [TOOL], "tool_choice": "required"}, "holds no text to a schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "not among the tools"),
        ({"max_tokens": 5000}, "this model takes 4,096 tokens"),
        ({"logit_bias": {"9999": 1}}, "knows no token 9999"),
        ({"n": 17}, "n: "),
    ]:
        with pytest.raises(openai.BadRequestError, match=reason):
            client.chat.completions.create(**{"model": "small", "messages": HI, **change})
    for change, reason in [
        ({"suffix": "x"}, "not between two texts"),
        ({"best_of": 3}, "best_of is n here"),
        ({"echo": True, "logprobs": 1}, "those of the prompt"),
        ({"prompt": ""}, "the prompt has no tokens"),
        ({"prompt": ["a"] * 32, "n": 2}, "32 texts at most"),
        ({"prompt": [9999]}, "knows no token 9999"),
    ]:
        with pytest.raises(openai.BadRequestError, match=reason):
            client.completions.create(**{"model": "small", "prompt": "abc", **change})
    with pytest.raises(openai.NotFoundError, match="there is no model 'other'"):
        client.chat.completions.create(model="other", messages=HI)
