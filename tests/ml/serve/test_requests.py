from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pydantic")
from forge.ml.serve.engine import RequestRefused
from forge.ml.serve.protocol import ChatRequest, CompletionRequest
from forge.ml.serve.requests import (
    chat_messages,
    chat_schema,
    chat_tools,
    stop_strings,
    token_lists,
    works,
)

if TYPE_CHECKING:
    from forge.ml.serve.model_folder import ServedModel

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]


def _chat(**values: Any) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}], **values})


def test_what_is_left_open_is_as_the_folder_proposes(served_model: ServedModel) -> None:
    model = dataclasses.replace(served_model, usual={"temperature": 0.6, "top_k": 20})
    (plain,) = works(_chat(), model, [[1, 2]], longest=100, max_tokens=None, top_logprobs=None)
    assert (plain.sampling.temperature, plain.sampling.top_k, plain.sampling.top_p) == (0.6, 20, 1.0)
    assert (plain.sampling.max_tokens, plain.sampling.stop_tokens) == (98, model.ends)
    asked = _chat(temperature=0, top_k=-1, ignore_eos=True, logit_bias={"5": -100}, n=2, seed=4)
    first, second = works(asked, model, [[1]], longest=100, max_tokens=3, top_logprobs=1)
    assert (first.sampling.temperature, first.sampling.top_k, first.sampling.stop_tokens) == (0, 0, frozenset())
    assert (first.sampling.seed, second.sampling.seed, first.sampling.logit_bias) == (4, 5, {5: -100})


def test_too_much_is_refused(served_model: ServedModel) -> None:
    for prompts, most, reason in [
        ([[1] * 100], None, "takes 100 tokens"),
        ([[1] * 50], 60, "beside the 60"),
        ([[]], 1, "no tokens"),
        ([[261]], 1, "no token 261"),
        ([[1]] * 33, 1, "32 texts"),
    ]:
        with pytest.raises(RequestRefused, match=reason):
            works(_chat(), served_model, prompts, longest=100, max_tokens=most, top_logprobs=None)


def test_stop_strings_and_prompts_have_several_forms(served_model: ServedModel) -> None:
    assert stop_strings(_chat()) == ()
    assert stop_strings(_chat(stop="a")) == ("a",)
    assert stop_strings(CompletionRequest(prompt="", stop=["a", "b"])) == ("a", "b")
    assert token_lists("ab", served_model) == [served_model.tokens("ab")]
    assert token_lists([[1], [2, 3]], served_model) == [[1], [2, 3]]
    assert token_lists([1, 2], served_model) == [[1, 2]]


def test_messages_are_plain_values() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = _chat(messages=[{"role": "user", "content": parts}, {"role": "assistant", "content": None}])
    assert chat_messages(asked.messages) == [{"role": "user", "content": "ab"}, {"role": "assistant", "content": ""}]


def test_a_schema_comes_from_the_form_or_from_the_tools() -> None:
    assert chat_schema(_chat(), []) is None
    assert chat_schema(_chat(response_format={"type": "text"}), []) is None
    assert chat_schema(_chat(response_format={"type": "json_object"}), []) == '{"type": "object"}'
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}
    assert chat_schema(_chat(response_format=form), []) == '{"type": "array"}'
    asked = _chat(tools=TOOLS, tool_choice="required")
    assert len(json.loads(chat_schema(asked, chat_tools(asked)))["anyOf"]) == 2
    asked = _chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "g"}})
    assert json.loads(chat_schema(asked, chat_tools(asked)))["properties"]["name"] == {"const": "g"}
    assert chat_tools(_chat(tools=TOOLS, tool_choice="none")) == []
    with pytest.raises(RequestRefused, match="not among the tools"):
        chat_schema(_chat(tool_choice="required"), [])
