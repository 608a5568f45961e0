from __future__ import annotations

from typing import Any

import pytest

from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.formats import RowFormat, recognise, to_conversation

HELLO = {"role": "user", "content": "hello"}
WORLD = {"role": "assistant", "content": "world"}
BRIEF = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "f"}}


def _convert(row: dict[str, Any], **settings: Any) -> Conversation:
    return to_conversation(row, recognise(row, **settings))


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (["text"], "text"),
        (["prompt", "completion"], "prompt_completion"),
        (["instruction", "output"], "alpaca"),
        (["instruction", "input", "output", "text"], "alpaca"),
        (["conversations", "id"], "sharegpt"),
        (["messages", "tools", "text"], "messages"),
    ],
)
def test_a_format_is_known_by_its_columns(columns: list[str], name: str) -> None:
    assert recognise(columns).name == name


def test_columns_that_no_format_has_are_refused_with_what_is_known() -> None:
    with pytest.raises(
        ValueError, match=r"columns a, b have no known format \(messages has messages; .*name it with format"
    ):
        recognise(["b", "a"])


def test_a_named_format_needs_its_columns() -> None:
    with pytest.raises(ValueError, match="a column messages; these have message \\(did you mean"):
        recognise(["message"], "messages")
    with pytest.raises(ValueError, match=r"format is one of .* not 'sharegtp' .did you mean"):
        recognise(["x"], "sharegtp")
    with pytest.raises(ValueError, match="columns of the format text are text; there is no 'prompt'"):
        recognise(["x"], "text", renamed={"prompt": "x"})


def test_columns_may_have_other_names() -> None:
    row = {"dialog": [HELLO, WORLD], "functions": [TOOL]}
    found = _convert(row, renamed={"messages": "dialog", "tools": "functions"})
    assert found == Conversation([HELLO, WORLD], [TOOL])
    assert _convert({"q": "hello", "a": "world"}, renamed={"instruction": "q", "output": "a"}).messages == [
        HELLO,
        WORLD,
    ]


def test_messages_and_sharegpt_become_the_same_conversation() -> None:
    tagged = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "world"}]
    expected = Conversation([BRIEF, HELLO, WORLD], [TOOL])
    assert _convert({"messages": [BRIEF, HELLO, WORLD], "tools": [TOOL]}) == expected
    assert _convert({"conversations": tagged, "system": "Be brief.", "tools": '[{"name": "f"}]'}) == expected
    assert _convert({"messages": tagged, "system": "Be brief.", "tools": [TOOL]}) == expected


def test_a_system_column_does_not_replace_a_system_message() -> None:
    assert _convert({"messages": [BRIEF, HELLO, WORLD], "system": "Be long."}).messages == [BRIEF, HELLO, WORLD]
    marked = _convert({"messages": [HELLO, {**WORLD, "train": False}], "system": "Be brief."})
    assert (marked.messages[0], marked.marks) == (BRIEF, (None, None, False))


def test_alpaca_has_a_system_text_a_history_and_an_input() -> None:
    row = {
        "instruction": "Add.",
        "input": "1 and 2",
        "output": "3",
        "system": "Be brief.",
        "history": [["hello", "world"]],
    }
    asked = {"role": "user", "content": "Add.\n1 and 2"}
    assert _convert(row).messages == [BRIEF, HELLO, WORLD, asked, {"role": "assistant", "content": "3"}]


def test_a_history_may_be_json_text_and_nothing_at_all() -> None:
    row = {"instruction": "hello", "output": "world"}
    assert _convert({**row, "history": '[["hello", "world"]]'}).messages == [HELLO, WORLD, HELLO, WORLD]
    for absent in ("", None, "null", "[]"):
        assert _convert({**row, "history": absent}).messages == [HELLO, WORLD]


def test_a_prompt_in_text_is_left_to_no_template() -> None:
    plain = Conversation([HELLO, WORLD], plain=True)
    row = {"prompt": "hello", "completion": "world"}
    assert _convert(row) == plain
    for absent in ({"system": "", "tools": "", "chat_template_kwargs": {}}, {"system": None, "tools": "[]"}):
        assert _convert({**row, **absent}) == plain


@pytest.mark.parametrize(
    ("column", "value"), [("system", "Be brief."), ("tools", [TOOL]), ("chat_template_kwargs", {"enable_thinking": 1})]
)
def test_a_prompt_in_text_with_what_only_a_template_could_place_is_refused(column: str, value: Any) -> None:
    with pytest.raises(RowError, match=f"{column} beside a prompt in plain text: it passes no template") as caught:
        _convert({"prompt": "hello", "completion": "world", "other": value}, renamed={column: "other"})
    assert "column other" in caught.value.detail


def test_a_prompt_of_messages_has_the_system_text_of_its_row() -> None:
    found = _convert({"prompt": [HELLO], "completion": [WORLD], "system": "Be brief."})
    assert found.messages == [BRIEF, HELLO, WORLD]
    assert found.marks == (None, False, None)
    own = _convert({"prompt": [BRIEF, HELLO], "completion": [WORLD], "system": "Be long."})
    assert own.messages == [BRIEF, HELLO, WORLD]


def test_the_assistants_turns_in_a_prompt_are_not_learned() -> None:
    found = _convert({"prompt": [HELLO, WORLD, HELLO], "completion": [WORLD]})
    assert found.messages == [HELLO, WORLD, HELLO, WORLD]
    assert found.marks == (False, False, False, None)


def test_a_row_may_have_values_for_its_template() -> None:
    row = {"messages": [HELLO, WORLD], "chat_template_kwargs": {"enable_thinking": False, "absent": None}}
    assert _convert(row).variables == {"enable_thinking": False}
    assert _convert({**row, "chat_template_kwargs": '{"enable_thinking": false}'}).variables == {
        "enable_thinking": False
    }
    assert _convert({**row, "chat_template_kwargs": ""}).variables == {}


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("messages", {}, "no column messages"),
        ("messages", {"messages": None}, "empty column messages"),
        ("messages", {"messages": "x"}, "column messages is not a list of messages"),
        ("messages", {"messages": [HELLO], "tools": "{"}, "tools are not JSON"),
        ("messages", {"messages": [HELLO], "chat_template_kwargs": [1]}, "chat_template_kwargs is not a mapping"),
        ("messages", {"messages": [HELLO], "system": 5}, "column system is not text"),
        ("prompt_completion", {"prompt": "x", "completion": ""}, "empty completion"),
        ("prompt_completion", {"prompt": "x", "completion": [WORLD]}, "prompt and completion differ in kind"),
        ("alpaca", {"instruction": "", "output": "x"}, "empty instruction"),
        ("alpaca", {"instruction": "x", "output": ""}, "empty output"),
        ("alpaca", {"instruction": "x", "output": "y", "history": ["z"]}, "history is not pairs of texts"),
        ("alpaca", {"instruction": "x", "output": "y", "history": "z"}, "history is not pairs of texts"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(name: Any, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        to_conversation(row, RowFormat(name))
    assert caught.value.reason == reason


def test_text_is_no_conversation() -> None:
    with pytest.raises(ValueError, match="documents, not conversations"):
        to_conversation({"text": "x"}, RowFormat("text"))
