from __future__ import annotations

from typing import Any

import pytest

pydantic = pytest.importorskip("pydantic")
from forge.ml.serve import protocol  # noqa: E402 - it needs what may be missing

HI = [{"role": "user", "content": "hi"}]


def test_what_openai_has_is_understood() -> None:
    asked = protocol.ChatRequest.model_validate(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "be"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
                {"role": "tool", "content": "4", "tool_call_id": "1"},
            ],
            "stop": ["a", "b"],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": "u",
        }
    )
    assert asked.tools[0].function.name == "f"
    assert asked.response_format.json_schema.schema_ == {}


@pytest.mark.parametrize(
    "change",
    [
        {"n": 17},
        {"n": 0},
        {"max_tokens": 0},
        {"max_tokens": 1 << 40},
        {"top_logprobs": 21},
        {"temperature": float("nan")},
        {"temperature": 2.1},
        {"top_p": 0},
        {"presence_penalty": float("inf")},
        {"stop": ["x"] * 9},
        {"stop": [""]},
        {"stop": "x" * 300},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {str(number): 1 for number in range(2000)}},
        {"messages": []},
        {"messages": [{"role": "villain", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "text", "json_schema": {"schema": {}}}},
        {"chat_template": "{{ 1 }}"},
        {"chat_template_kwargs": {"x": ["a"]}},
        {"nosuch": 1},
    ],
    ids=str,
)
def test_every_size_has_a_bound_and_every_field_a_name(change: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        protocol.ChatRequest.model_validate({"messages": HI, **change})


def test_prompts_are_texts_or_tokens() -> None:
    for prompt in ("a", ["a", "b"], [1, 2], [[1], [2]]):
        assert protocol.CompletionRequest(prompt=prompt).prompt == prompt
        assert protocol.EmbeddingRequest(input=prompt).input == prompt
    for prompt in (None, [], [[]], [1, "a"], [-1], [1.5], [True], ["a"] * 33):
        with pytest.raises(pydantic.ValidationError):
            protocol.CompletionRequest(prompt=prompt)


def test_a_text_or_a_chat_is_seen_as_tokens_and_not_both() -> None:
    assert protocol.TokenizeRequest(prompt="").prompt == ""
    for given in ({}, {"prompt": "a", "messages": HI}):
        with pytest.raises(pydantic.ValidationError):
            protocol.TokenizeRequest(**given)
    assert protocol.DetokenizeRequest(tokens=[]).tokens == []
