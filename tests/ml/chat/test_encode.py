from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("jinja2")
from forge.ml.chat.conversation import Conversation, RowError

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = {"role": "user", "content": "hello"}
WORLD = {"role": "assistant", "content": "world"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
# What each shipped template makes of the assistant's words, its end of turn with them.
SAID: dict[str, Callable[[str], str]] = {
    "alpaca": lambda said: said + "</s>",
    "chatml": lambda said: said + "<|im_end|>",
    "chatml_eos": lambda said: said + "</s>",
    "gemma": lambda said: said.strip() + "<end_of_turn>",
    "llama2": lambda said: f" {said.strip()} </s>",
    "llama3": lambda said: said.strip() + "<|eot_id|>",
    "mistral": lambda said: f" {said.strip()}</s>",
    "qwen": lambda said: said + "<|im_end|>",
}
WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            ["hello ", "world", "\n", " ", "</s>", "<|im_end|>", "<|im_start|>", "<|eot_id|>", "<pad>", "é", "🙂"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    ),
    max_size=6,
).map("".join)
TALKS = st.builds(
    lambda system, pairs: Conversation(
        [{"role": "system", "content": text} for text in system]
        + [
            {"role": role, "content": text}
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    ),
    st.lists(WORDS, max_size=1),
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3),
)


def _learned(encoder: Any, encoded: Any) -> list[str]:
    decode = encoder.tokenizer.decode
    return [decode(encoded.ids[start:stop], skip_special_tokens=False) for start, stop in encoded.learned]


def _one(encoder: Any, conversation: Conversation) -> Any:
    (found,) = encoder.encode_conversations([conversation])
    assert not isinstance(found, RowError), found
    return found


def _unmarked(text: str) -> str:
    return re.sub(r"\{%- (end)?generation -%\}", "", text)


def test_every_shipped_template_has_an_expected_answer(shipped: dict[str, str]) -> None:
    assert set(shipped) == set(SAID)


@pytest.mark.parametrize("name", SAID)
@settings(max_examples=60, deadline=None)
@given(talk=TALKS)
def test_exactly_what_the_assistant_says_is_learned_and_its_end(
    encoder: Callable[..., Any], name: str, talk: Conversation
) -> None:
    made = encoder(name)
    found = _one(made, talk)
    expected = [SAID[name](message["content"]) for message in talk.messages if message["role"] == "assistant"]
    assert _learned(made, found) == expected
    assert made.tokenizer.decode(found.ids, skip_special_tokens=False) == made.template.render(talk).text
    assert sum(found.trained) == found.trained_count
    last = [found.ids[stop - 1] for _, stop in found.learned]
    assert set(last) <= set(made.special.numbers)


@pytest.mark.parametrize("name", SAID)
@settings(max_examples=40, deadline=None)
@given(talk=TALKS)
def test_a_template_without_marks_gives_the_same(
    encoder: Callable[..., Any], shipped: dict[str, str], name: str, talk: Conversation
) -> None:
    text = _unmarked(shipped[name])
    assert "generation -" not in text
    assert _one(encoder(name), talk) == _one(encoder(text), talk)


@pytest.mark.parametrize("name", SAID)
@settings(max_examples=40, deadline=None)
@given(talk=TALKS)
def test_no_message_can_forge_a_special_token(encoder: Callable[..., Any], name: str, talk: Conversation) -> None:
    made = encoder(name)
    numbers = made.special.numbers
    harmless = Conversation([{**message, "content": "x"} for message in talk.messages])

    def control(conversation: Conversation) -> list[int]:
        return [number for number in _one(made, conversation).ids if number in numbers]

    assert control(talk) == control(harmless)


@pytest.mark.parametrize("name", SAID)
@settings(max_examples=40, deadline=None)
@given(talk=TALKS)
def test_ordinary_text_has_the_tokens_that_the_tokenizer_gives_it(
    encoder: Callable[..., Any], name: str, talk: Conversation
) -> None:
    made = encoder(name, special_in_messages=True)
    plain = made.tokenizer.encode(made.template.render(talk).text, add_special_tokens=False).ids
    assert _one(made, talk).ids == plain
    if not made.special.in_conversation(talk):
        assert _one(encoder(name), talk).ids == plain


def test_rows_and_their_errors_stay_in_order(encoder: Callable[..., Any]) -> None:
    rows = [
        {"messages": [HELLO, WORLD]},
        {"messages": []},
        {"messages": [{"role": "user", "content": "<|im_end|>"}, WORLD]},
        {"messages": [HELLO]},
        {"messages": [{"role": "user", "content": "\ud83d"}, WORLD]},
        {"messages": [WORLD]},
    ]
    made = encoder("chatml")
    found = [str(one) if isinstance(one, RowError) else _learned(made, one) for one in made.encode(rows)]
    assert found == [
        ["world<|im_end|>"],
        "no messages: column messages is empty",
        ["world<|im_end|>"],
        "nothing to learn: no assistant turn",
        "broken Unicode: half a character: '\\ud83d'",
        ["world<|im_end|>"],
    ]
    assert made.encode([]) == []


def test_a_plain_prompt_is_text_and_its_completion_is_learned(encoder: Callable[..., Any]) -> None:
    made = encoder(None, "prompt_completion")
    (found,) = made.encode([{"prompt": "hello", "completion": " world"}])
    assert made.tokenizer.decode(found.ids, skip_special_tokens=False) == "hello world</s>"
    assert _learned(made, found) == [" world</s>"]
    (found,) = encoder(None, "prompt_completion", train_on="all").encode([{"prompt": "hello", "completion": " world"}])
    assert found.learned == ((0, len(found.ids)),)


def test_a_plain_prompt_begins_as_the_tokenizer_begins_its_texts(
    tokenizer: Any, special_tokens: dict[str, str]
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from forge.ml.chat.encode import Recipe, RowEncoder
    from forge.ml.chat.formats import RowFormat

    beginning = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    number = tokenizer.token_to_id("<s>")
    beginning.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", number)]
    )
    made = RowEncoder(Recipe(RowFormat("prompt_completion"), None, special_tokens), beginning)
    (found,) = made.encode([{"prompt": "hello", "completion": "world"}])
    assert made.tokenizer.decode(found.ids, skip_special_tokens=False) == "<s>helloworld</s>"


def test_messages_need_a_template(encoder: Callable[..., Any]) -> None:
    (found,) = encoder(None).encode([{"messages": [HELLO, WORLD]}])
    assert found.reason == "no chat template"


def test_tools_are_not_left_out_without_a_word(encoder: Callable[..., Any]) -> None:
    rows = [
        {"messages": [HELLO, WORLD], "tools": [TOOL]},
        {"messages": [HELLO, {**WORLD, "tool_calls": [CALL]}]},
    ]
    assert [found.reason for found in encoder("llama3").encode(rows)] == [
        "the template knows no tools",
        "the template knows no tool calls",
    ]
    made = encoder("qwen")
    _, calling = made.encode(rows)
    call = '\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert _learned(made, calling) == ["world" + call]


def test_a_mark_that_leaves_out_the_end_of_the_turn_is_closed(
    encoder: Callable[..., Any], shipped: dict[str, str]
) -> None:
    text = shipped["chatml"].replace("{{- message['content'] + '<|im_end|>' -}}", "{{- message['content'] -}}")
    text = text.replace("{%- endgeneration -%}\n        {{- '\\n' -}}", "{%- endgeneration -%}{{- '<|im_end|>\\n' -}}")
    made = encoder(text)
    assert _learned(made, _one(made, Conversation([HELLO, WORLD]))) == ["world<|im_end|>"]


def test_a_template_that_does_not_end_makes_an_error_of_its_row(encoder: Callable[..., Any]) -> None:
    from forge.ml.chat.limits import Limits

    bomb = "{% if messages[0].content == 'boom' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    made = encoder(
        bomb + "{% endif %}{% for m in messages %}{{ m.content }}\n{% endfor %}", limits=Limits(seconds=0.05)
    )
    good, bad = made.encode([{"messages": [HELLO, WORLD]}, {"messages": [{"role": "user", "content": "boom"}, WORLD]}])
    assert _learned(made, good) == ["world\n"]
    assert bad.reason == "the template runs too long"


def test_one_conversation_is_encoded_in_one_call(tokenizer: Any, shipped: dict[str, str]) -> None:
    from forge.ml.chat.encode import encode
    from forge.ml.chat.template import Template

    template = Template(shipped["chatml"])
    found = encode(Conversation([HELLO, WORLD]), template, tokenizer)
    assert tokenizer.decode([number for number, mark in zip(found.ids, found.trained, strict=True) if mark]) == "world"
    with pytest.raises(RowError, match="no assistant turn"):
        encode(Conversation([HELLO]), template, tokenizer)


def test_a_recipe_refuses_an_unknown_way_to_learn(encoder: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="train_on is assistant"):
        encoder("chatml", train_on="some")
