from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("jinja2")
from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.labels import check_train_on, learned_parts
from forge.ml.chat.template import Template

if TYPE_CHECKING:
    from forge.ml.chat.labels import TrainOn

UNMARKED = (
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
MARKED = (
    "{% for m in messages %}<{{ m.role[0] }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }};{% endgeneration %}"
    "{% else %}{{ m.content }};{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
TWICE = MARKED.replace("{{ m.content }};{% endg", "{{ m.content }}{% endgeneration %}{% generation %};{% endg", 1)
FORGETFUL = (
    "{% for m in messages %}<{{ m.role[0] }}>"
    "{{ m.content if loop.last or m.role == 'user' else m.content.split('=')[-1] }};{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
ROLES = ["system", "user", "assistant", "user", "assistant", "tool", "assistant"]
CONVERSATION = Conversation([{"role": role, "content": f"{role[0]}{number}"} for number, role in enumerate(ROLES)])
MARKS = (None, None, True, None, False, None, None)


def _learned(template: str, train_on: TrainOn, conversation: Conversation = CONVERSATION) -> list[str]:
    made = Template(template)
    rendered = made.render(conversation)
    parts = learned_parts(conversation, rendered, made, train_on)
    return [rendered.text[start:stop] for start, stop in parts]


@pytest.mark.parametrize("template", [UNMARKED, MARKED])
@pytest.mark.parametrize(
    ("train_on", "learned"),
    [
        ("assistant", ["a2;", "a4;", "a6;"]),
        ("completion", ["a4;", "a6;"]),
        ("last", ["a6;"]),
        ("all", ["<s>s0;<u>u1;<a>a2;<u>u3;<a>a4;<t>t5;<a>a6;"]),
    ],
)
def test_what_is_learned_is_what_was_asked_for(template: str, train_on: TrainOn, learned: list[str]) -> None:
    assert _learned(template, train_on) == learned


@pytest.mark.parametrize("template", [UNMARKED, MARKED])
@pytest.mark.parametrize(
    ("train_on", "learned"),
    [
        ("assistant", ["a2;", "a6;"]),
        ("completion", ["a2;", "a6;"]),
        ("last", ["a2;", "a6;"]),
        ("all", ["<s>s0;<u>u1;<a>a2;<u>u3;<a>", "<t>t5;<a>a6;"]),
    ],
)
def test_a_message_decides_for_itself(template: str, train_on: TrainOn, learned: list[str]) -> None:
    assert _learned(template, train_on, Conversation(CONVERSATION.messages, marks=MARKS)) == learned


def test_a_turn_may_have_several_marks() -> None:
    assert _learned(TWICE, "assistant") == ["a2", ";", "a4", ";", "a6", ";"]
    assert _learned(TWICE, "last") == ["a6", ";"]


def test_a_template_that_rewrites_earlier_turns_is_refused_where_it_does() -> None:
    thought = Conversation(
        [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "thought=a"},
            {"role": "user", "content": "v"},
            {"role": "assistant", "content": "thought=b"},
        ]
    )
    assert _learned(FORGETFUL, "last", thought) == ["thought=b;"]
    with pytest.raises(RowError, match=re.escape("'<u>u;<a>a;")) as caught:
        _learned(FORGETFUL, "assistant", thought)
    assert caught.value.reason == "the template rewrites what it has said"
    assert "message 2 has" in caught.value.detail


@pytest.mark.parametrize(
    ("template", "conversation", "reason"),
    [
        (UNMARKED, Conversation(CONVERSATION.messages[:2]), "nothing to learn: no assistant turn"),
        (
            UNMARKED,
            Conversation(CONVERSATION.messages[:3], marks=(None, None, False)),
            "nothing to learn: every assistant turn",
        ),
        ("{{ messages[0].content }}", CONVERSATION, "the template leaves out an assistant turn: message 3"),
        ("{% if 0 %}{% generation %}{% endgeneration %}{% endif %}", CONVERSATION, "the template marks nothing"),
    ],
)
def test_nothing_to_learn_has_a_reason(template: str, conversation: Conversation, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        _learned(template, "assistant", conversation)
    assert str(caught.value).startswith(reason)


def test_everything_can_be_learned_where_nobody_answers() -> None:
    assert _learned(UNMARKED, "all", Conversation(CONVERSATION.messages[:2])) == ["<s>s0;<u>u1;"]


@pytest.mark.parametrize("value", ["assistants", "", "ALL"])
def test_an_unknown_way_to_learn_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="train_on is assistant, completion, last or all, not"):
        check_train_on(value)
