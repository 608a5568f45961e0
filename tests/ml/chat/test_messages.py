from __future__ import annotations

import json
from typing import Any

import pytest

from forge.ml.chat.conversation import RowError
from forge.ml.chat.messages import ROLES, Reader, tool_list


def _read(*entries: Any, **tags: Any) -> list[dict[str, Any]]:
    return Reader(tags).messages(list(entries), "messages")[0]


def _refused(*entries: Any, **tags: Any) -> str:
    with pytest.raises(RowError) as caught:
        _read(*entries, **tags)
    return str(caught.value)


@pytest.mark.parametrize(("role", "word"), [(role, word) for role, words in ROLES.items() for word in words])
def test_every_known_word_for_a_role_is_understood(role: str, word: str) -> None:
    if role == "tool_call":
        (message,) = _read({"from": word, "value": '{"name": "f", "arguments": {"a": 1}}'})
        call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
        assert message == {"role": "assistant", "content": "", "tool_calls": [call]}
    else:
        assert (
            _read({"from": word, "value": "x"})
            == _read({"role": word, "content": "x"})
            == [{"role": role, "content": "x"}]
        )


def test_other_keys_and_roles_are_named_by_tags() -> None:
    entry = {"speaker": "client", "said": "hello"}
    assert _read(entry, role_key="speaker", content_key=["said"], user="client") == [
        {"role": "user", "content": "hello"}
    ]
    assert _refused(entry, role_key="speaker", content_key="said").startswith("unknown role: message 1: 'client'")
    assert _read({"role": "developer", "content": "x"}, developer="developer")[0]["role"] == "developer"
    assert _read({"role": "critic", "content": "x"}, critic=["judge", "critic"])[0]["role"] == "critic"


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (
            {"usr": ["client"]},
            r"tags has no key 'usr' \(did you mean 'user'\?\); it knows role_key, content_key, .*user",
        ),
        ({"role_kee": "x"}, r"tags has no key 'role_kee' \(did you mean 'role_key'\?\)"),
        ({"human": ["client"]}, r"tags has no key 'human'; .* a role of another name has this name among its words"),
        ({1: ["client"]}, "tags has no key 1; "),
    ],
)
def test_a_tag_that_means_nothing_is_refused(tags: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reader(tags)


def test_messages_may_be_json_text() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": False}]
    assert Reader({}).messages(json.dumps(said), "messages") == Reader({}).messages(said, "messages")
    with pytest.raises(RowError, match="column m is not a list of messages: it is dict"):
        Reader({}).messages('{"role": "user"}', "m")
    with pytest.raises(RowError, match="column m is not a list of messages: it is str"):
        Reader({}).messages("[" * 100_000, "m")


def test_content_in_parts_is_joined_and_pictures_are_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "c"]
    assert _read({"role": "user", "content": parts}) == [{"role": "user", "content": "abc"}]
    assert "a part of it is image_url" in _refused(
        {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}
    )
    assert "it is int" in _refused({"role": "user", "content": 5})


def test_calls_of_tools_take_the_one_form_whatever_they_looked_like() -> None:
    function = {"name": "f", "arguments": {"a": 1}}
    expected = [{"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}]
    for call in (
        {"function": function},
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        function,
    ):
        assert _read({"role": "assistant", "content": None, "tool_calls": [call]}) == expected
    assert (
        _read({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}})
        == expected
    )
    (message,) = _read({"role": "assistant", "tool_calls": [{"id": "7", "function": {"name": "f", "arguments": ""}}]})
    assert message["tool_calls"] == [{"type": "function", "id": "7", "function": {"name": "f", "arguments": {}}}]


def test_a_call_that_cannot_be_read_is_refused() -> None:
    assert "a tool call is not JSON" in _refused({"from": "function_call", "value": "{'name': 'f'}"})
    assert "a tool call without a name" in _refused({"role": "assistant", "tool_calls": [{"arguments": {}}]})
    bad = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}
    assert "the arguments of a tool call is not JSON" in _refused(bad)


def test_nothing_stands_for_what_arrow_writes_into_every_row() -> None:
    entry = {"role": "user", "content": "x", "tool_calls": None, "name": None}
    assert _read(entry) == [{"role": "user", "content": "x"}]
    call = {"function": {"name": "f", "arguments": {"a": 1, "b": None}}}
    assert _read({"role": "assistant", "tool_calls": [call]})[0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_reasoning_has_the_names_that_templates_use() -> None:
    (message,) = _read({"role": "assistant", "content": "x", "reasoning": "because"})
    assert message["reasoning_content"] == message["thinking"] == "because"


@pytest.mark.parametrize(
    ("entry", "mark"), [({"train": True}, True), ({"train": False}, False), ({"weight": 0}, False)]
)
def test_a_message_says_whether_it_is_learned(entry: dict[str, Any], mark: bool) -> None:  # noqa: FBT001
    messages, marks = Reader({}).messages([{"role": "assistant", "content": "x", **entry}], "messages")
    assert marks == (mark,)
    assert messages == [{"role": "assistant", "content": "x"}]


def test_only_the_assistant_can_be_learned_by_itself() -> None:
    assert "a user message has train: true" in _refused({"role": "user", "content": "x", "train": True})
    assert Reader({}).messages([{"role": "user", "content": "x", "weight": 1}], "m")[1] == ()
    assert "it is 0.5" in _refused({"role": "assistant", "content": "x", "weight": 0.5})
    assert "it is True, 1" in _refused({"role": "assistant", "content": "x", "weight": 1, "train": True})


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("text", "column m is not a list of messages: it is str"),
        ([], "no messages: column m is empty"),
        (["x"], "a message is not a mapping: message 1: it is str"),
        ([{"content": "x"}], "a message without role: message 1: it has content, not role or from"),
        ([{"role": "user"}], "a message without content: message 1: it has nothing, not content or value"),
        ([{"role": "user", "content": "x", "at": object()}], "a value that is not plain data"),
    ],
)
def test_what_is_no_list_of_messages_is_refused_with_its_reason(found: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        Reader({}).messages(found, "m")
    assert str(caught.value).startswith(reason)


def test_tools_may_be_a_list_or_its_json_and_bare_functions() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    bare = {"name": "f", "parameters": {}}
    assert tool_list([tool]) == tool_list([bare]) == tool_list('[{"name": "f", "parameters": {}}]') == [tool]
    assert tool_list(None) is tool_list("") is tool_list([]) is tool_list("[]") is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [("{", "tools are not JSON"), (5, "tools are not a list"), (["x"], "a tool that is not a mapping")],
)
def test_tools_that_are_none_are_refused(found: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        tool_list(found)
    assert caught.value.reason == reason
