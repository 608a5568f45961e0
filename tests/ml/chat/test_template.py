from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

pytest.importorskip("jinja2")
from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.template import Template

HELLO = {"role": "user", "content": "hello"}
WORLD = {"role": "assistant", "content": "world"}
BRIEF = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "f", "description": "é <b>", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": [1, "é"], "b": {}}}}
TALKS = {
    "one turn": Conversation([HELLO, WORLD]),
    "no answer yet": Conversation([HELLO]),
    "system": Conversation([BRIEF, HELLO, WORLD, HELLO, WORLD]),
    "white space": Conversation(
        [{"role": "user", "content": "  hello \n"}, {"role": "assistant", "content": "\n world  "}]
    ),
    "other scripts": Conversation([{"role": "user", "content": "héllo 你好 🙂"}, WORLD]),
    "special tokens": Conversation([{"role": "user", "content": "<|im_end|></s>"}, WORLD]),
    "empty": Conversation([HELLO, {"role": "assistant", "content": ""}]),
    "two questions": Conversation([HELLO, HELLO, WORLD]),
    "tools": Conversation([HELLO, WORLD], [TOOL, TOOL]),
    "calls": Conversation(
        [
            BRIEF,
            HELLO,
            {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
            {"role": "tool", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "Again.", "tool_calls": [CALL]},
            {"role": "tool", "content": "3"},
            WORLD,
        ],
        [TOOL],
    ),
    "variables": Conversation([HELLO, WORLD], variables={"eos_token": "STOP"}),
}
OTHER_TEMPLATES = {
    "date": "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "thinking": "{% for m in messages %}{{ m.thinking or m.reasoning_content or m.content }}{% endfor %}",
    "everything": "{{ messages | tojson(indent=2) }}{{ tools | tojson }}{{ documents }}{{ bos_token }}{{ missing }}",
    "controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}\n  {{ m.role }}\n{% endfor %}\n",
}


@pytest.fixture(scope="module")
def transformers_tokenizer(tokenizer: Any, special_tokens: dict[str, str]) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens)


@pytest.mark.torch
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("prompt", [False, True])
def test_text_and_marks_are_those_of_transformers(
    transformers_tokenizer: Any,
    shipped: dict[str, str],
    special_tokens: dict[str, str],
    talk: str,
    prompt: bool,  # noqa: FBT001
) -> None:
    conversation = TALKS[talk]
    for text in (*shipped.values(), *OTHER_TEMPLATES.values()):
        settings = {"tools": conversation.tools, "chat_template": text, "add_generation_prompt": prompt}
        settings |= conversation.variables

        def theirs(**more: Any) -> Any:
            return transformers_tokenizer.apply_chat_template(conversation.messages, **settings, **more)  # noqa: B023

        template = Template(text, special_tokens=special_tokens)
        try:
            rendered = template.render(conversation, add_generation_prompt=prompt)
        except RowError as error:
            with pytest.raises(Exception, match=re.escape(error.detail.partition(": ")[2] or error.detail)):
                theirs(tokenize=False)
            continue
        assert rendered.text == theirs(tokenize=False)
        if template.marks_speech and rendered.marked:
            found = theirs(return_dict=True, return_assistant_tokens_mask=True)
            said = [number for number, mark in zip(found["input_ids"], found["assistant_masks"], strict=True) if mark]
            ours = [transformers_tokenizer.decode(said)]
            assert "".join(rendered.text[start:stop] for start, stop in rendered.marked) == ours[0]


def test_a_template_may_print_the_date_that_it_is_given() -> None:
    now = dt.datetime(2024, 7, 26, tzinfo=dt.timezone.utc)
    template = Template("{{ strftime_now('%d %b %Y') }}{{ custom }}", variables={"custom": "!"}, now=now)
    assert template.render(TALKS["one turn"]).text == "26 Jul 2024!"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ raise_exception('not so') }}", "the template refuses the conversation: not so"),
        ("{{ ''.__class__.__mro__ }}", "the template tries what is not allowed"),
        ("{{ messages.append(1) }}", "the template tries what is not allowed"),
        ("{{ 'a' + 1 }}", "the template fails: TypeError"),
        ("{{ messages[5].content + 'a' }}", "the template fails: UndefinedError"),
        ("{{ 1 // 0 }}", "the template fails: ZeroDivisionError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "the template fails: RecursionError"),
        ("{% include 'x' %}", "the template fails: TypeError"),
        (
            "{% macro m() %}ab{% generation %}c{% endgeneration %}{% endmacro %}{{ m() }}",
            "a generation block that is not where it is written",
        ),
    ],
)
def test_a_template_that_fails_says_why(text: str, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        Template(text).render(TALKS["one turn"])
    assert str(caught.value).startswith(reason)


def test_a_template_that_does_not_parse_names_the_line() -> None:
    with pytest.raises(ValueError, match="the chat template does not parse: line 2: "):
        Template("a\n{% for %}")
    with pytest.raises(ValueError, match="nested too deeply"):
        Template("{% for a in [1] %}" * 30 + "{% endfor %}" * 30)


def test_marks_are_found_wherever_they_stand() -> None:
    text = "{% for m in messages %}[{% generation -%} {{ m.content }} {%- endgeneration %}]{% endfor %}"
    template = Template(text)
    rendered = template.render(TALKS["one turn"])
    assert (rendered.text, rendered.marked) == ("[hello][world]", ((1, 6), (8, 13)))
    assert template.marks_speech
    assert not Template("{{ generation }}").marks_speech


def test_a_template_says_whether_it_knows_tools(shipped: dict[str, str]) -> None:
    known = {name for name, text in shipped.items() if Template(text).knows_tools}
    assert known == {name for name, text in shipped.items() if Template(text).knows_tool_calls} == {"qwen"}
