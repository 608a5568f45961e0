"""Which parts of a conversation's text are learned.

A template that marks what the assistant says (``{% generation %}``) is believed. For any other, a turn is what the text with it has
more than the text before it; a template whose text does not grow in this way cannot be used so, and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from forge.ml.chat.conversation import Conversation, RowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.chat.template import Rendered, Template

__all__ = ["TextPart", "TrainOn", "check_train_on", "learned_parts"]

TrainOn = Literal["assistant", "completion", "last", "all"]
"""What is learned: each assistant turn, those after the last user turn, the last one alone, or every token."""

TextPart = tuple[int, int]
"""A part of a text: its first character and the one behind its last."""

_AROUND: Final = 24


def check_train_on(value: str) -> None:
    """ValueError unless it is one of the known ways to learn from a conversation."""
    if value not in get_args(TrainOn):
        raise ValueError(f"train_on is {', '.join(get_args(TrainOn)[:-1])} or all, not {value!r}")


def learned_parts(
    conversation: Conversation, rendered: Rendered, template: Template, train_on: TrainOn
) -> list[TextPart]:
    """The parts of a rendered conversation that are learned, in order; RowError when there are none."""
    turns = conversation.assistant_turns()
    wanted = _wanted(conversation, turns, train_on)
    if train_on == "all":
        return _outside(_speech(conversation, rendered, template, turns, wanted), len(rendered.text))
    if not wanted:
        raise RowError(
            "nothing to learn", "no assistant turn" if not turns else "every assistant turn is marked train: false"
        )
    return _speech(conversation, rendered, template, turns, wanted)


def _wanted(conversation: Conversation, turns: list[int], train_on: TrainOn) -> list[int]:
    """The assistant turns that are learned; for ``all``, those that are not."""
    marks = conversation.marks or (None,) * len(conversation.messages)
    if train_on == "all":
        return [turn for turn in turns if marks[turn] is False]
    if train_on == "assistant":
        chosen = set(turns)
    elif train_on == "last":
        chosen = set(turns[-1:])
    else:
        asked = [index for index, message in enumerate(conversation.messages) if message["role"] == "user"]
        chosen = {turn for turn in turns if not asked or turn > asked[-1]}
    return [turn for turn in turns if (turn in chosen if marks[turn] is None else marks[turn])]


def _speech(
    conversation: Conversation, rendered: Rendered, template: Template, turns: list[int], wanted: list[int]
) -> list[TextPart]:
    if not wanted:
        return []
    if not template.marks_speech:
        return [_turn(conversation, rendered.text, template, turn) for turn in wanted]
    if not rendered.marked:
        raise RowError("the template marks nothing as the assistant's", "no {% generation %} block was reached")
    if wanted == turns:
        return list(rendered.marked)
    of_turn = _turns_of(conversation, rendered, template, turns)
    return [part for part, turn in zip(rendered.marked, of_turn, strict=True) if turn in wanted]


def _turns_of(conversation: Conversation, rendered: Rendered, template: Template, turns: list[int]) -> Sequence[int]:
    """The turn that each marked part belongs to."""
    if len(rendered.marked) == len(turns):
        return turns
    ends = [(_turn(conversation, rendered.text, template, turn)[1], turn) for turn in turns]
    return [next((turn for end, turn in ends if start < end), turns[-1]) for start, _ in rendered.marked]


def _turn(conversation: Conversation, text: str, template: Template, turn: int) -> TextPart:
    """Where a turn stands: behind the text before it and its invitation to speak, up to the text that has it."""
    messages = conversation.messages
    before = template.render_messages(messages[:turn], conversation, add_generation_prompt=True).text
    last = turn == len(messages) - 1
    through = text if last else template.render_messages(messages[: turn + 1], conversation).text
    for shorter in (before, through):
        if not text.startswith(shorter):
            raise RowError("the template rewrites what it has said", _difference(text, shorter, turn))
    if len(through) <= len(before):
        raise RowError("the template leaves out an assistant turn", f"message {turn + 1}")
    return len(before), len(through)


def _difference(text: str, shorter: str, turn: int) -> str:
    pairs = zip(text, shorter, strict=False)
    place = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(text), len(shorter)))
    shown = [repr(found[max(0, place - _AROUND) : place + _AROUND]) for found in (text, shorter)]
    return (
        f"message {turn + 1} has {shown[0]} in the whole conversation and {shown[1]} when it ends there; "
        "learn from the last turn only, or mark what the assistant says with {% generation %}"
    )


def _outside(parts: list[TextPart], length: int) -> list[TextPart]:
    """Everything but these parts."""
    edges = [0, *(edge for part in parts for edge in part), length]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]
