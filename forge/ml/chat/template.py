"""A chat template: conversations in, text out, with the places where the assistant speaks."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jinja2

from forge.ml.chat.conversation import RowError
from forge.ml.chat.sandbox import Sandbox, TemplateRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forge.ml.chat.conversation import Conversation

__all__ = ["Rendered", "Template"]

_MARK: Final = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text, and the parts of it that the template marks as the assistant's.

    ``marked`` are in the order of the text; which message each belongs to is found by `forge.ml.chat.labels`.
    """

    text: str
    marked: tuple[tuple[int, int], ...] = ()


class Template:
    """A compiled chat template with the special tokens of its tokenizer; it renders as ``apply_chat_template`` does.

    ``variables`` are further values for the template. ``now`` is the date it may print; without one, the date of each rendering.
    Compiling and rendering run the template's code: do both under `forge.ml.chat.limits`.
    """

    def __init__(
        self,
        text: str,
        *,
        special_tokens: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        now: dt.datetime | None = None,
    ) -> None:
        self.text = text
        self.special_tokens = dict(special_tokens or {})
        self.variables = dict(variables or {})
        self.marks_speech = _MARK.search(text) is not None
        self.knows_tools = re.search(r"\btools\b", text) is not None
        self.knows_tool_calls = "tool_calls" in text
        self._sandbox = Sandbox(dt.datetime.now if now is None else lambda: now)
        try:
            self._compiled = self._sandbox.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(f"the chat template does not parse: line {error.lineno}: {error.message}") from error
        except (SyntaxError, RecursionError) as error:
            raise ValueError(f"the chat template is nested too deeply: {_first_line(error)}") from error
        # Jinja copies a template's globals for each rendering; a plain mapping is copied five times as fast as its own.
        self._compiled.globals = dict(self._compiled.globals)
        self._context = {"documents": None, **self.special_tokens, **self.variables}

    def render(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> Rendered:
        """The text of a conversation; RowError when the template refuses it or fails."""
        return self.render_messages(conversation.messages, conversation, add_generation_prompt=add_generation_prompt)

    def render_messages(
        self, messages: Sequence[Mapping[str, Any]], conversation: Conversation, *, add_generation_prompt: bool = False
    ) -> Rendered:
        """The text of other messages, a part of the conversation's for instance, with its tools and variables."""
        values = {
            **self._context,
            **conversation.variables,
            "messages": messages,
            "tools": conversation.tools,
            "add_generation_prompt": add_generation_prompt,
        }
        sandbox = self._sandbox
        sandbox.written, sandbox.spans = 0, []
        try:
            text = "".join(self._pieces(values))
        except TemplateRefusal as error:
            raise RowError("the template refuses the conversation", str(error)) from error
        except jinja2.exceptions.SecurityError as error:
            raise RowError("the template tries what is not allowed", str(error)) from error
        except (jinja2.TemplateError, *_FAILURES) as error:
            raise RowError("the template fails", f"{type(error).__name__}: {_first_line(error)}") from error
        return Rendered(text, _checked(text, sandbox.spans))

    def _pieces(self, values: dict[str, Any]) -> Iterator[str]:
        sandbox = self._sandbox
        for piece in self._compiled.root_render_func(self._compiled.new_context(values)):
            sandbox.written += len(piece)
            yield piece


# What the operations of a template raise on values that they are not made for.
_FAILURES: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, AssertionError)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _checked(text: str, spans: list[tuple[int, str]]) -> tuple[tuple[int, int], ...]:
    """The marked parts, each looked up in the text: inside a macro or a set block they stand somewhere else."""
    for start, said in spans:
        if not text.startswith(said, start):
            raise RowError(
                "a generation block that is not where it is written",
                "the template has {% generation %} inside a macro or a set block: put it around the output itself",
            )
    return tuple((start, start + len(said)) for start, said in spans)
