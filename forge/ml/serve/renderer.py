"""``python -m forge.ml.serve.renderer``: turns chats into tokens in a process of its own, where a template can do no harm.

A template is code that came with a model. Here it runs in the sandbox and under limits of time and memory; if nothing else
stops it, this process ends, and the server starts another. One line of JSON comes in for each chat, and one goes out.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.limits import Limits, limited, memory_limited
from forge.ml.chat.messages import Reader, tool_list
from forge.ml.chat.special import AliasTokenizer, SpecialTokens, revealed
from forge.ml.chat.template import Template

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ChatEncoder", "main"]

_LONGEST = 32 << 20


class ChatEncoder:
    """Writes chats as tokens that a model goes on from. What stands in a message is text, even where it looks like a special token."""

    def __init__(
        self, tokenizer: Tokenizer, template: str, special_tokens: dict[str, str], limits: Limits | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._tokenizer = tokenizer
        self._special = SpecialTokens(tokenizer)
        self._aliases: AliasTokenizer | None = None
        with memory_limited(self._limits), limited(self._limits):
            self._template = Template(template, special_tokens=special_tokens)

    def encode(self, messages: list[Any], tools: Any = None, variables: dict[str, Any] | None = None) -> list[int]:
        """The tokens of a chat up to where the assistant speaks; RowError when the template refuses it."""
        read, _ = Reader({}).messages(messages, "messages")
        conversation = Conversation(read, tool_list(tools), variables=dict(variables or {}))
        if conversation.tools and not self._template.knows_tools:
            raise RowError("the chat template of this model knows no tools")
        text = self._text(conversation)
        text.encode()  # half a character is no text: UnicodeEncodeError
        if not self._special.in_conversation(conversation):
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        return self._with_hidden(conversation, text)

    def _text(self, conversation: Conversation) -> str:
        with memory_limited(self._limits), limited(self._limits):
            text = self._template.render(conversation, add_generation_prompt=True).text
        if len(text) > _LONGEST:
            raise RowError("the text is too long")
        return text

    def _with_hidden(self, conversation: Conversation, text: str) -> list[int]:
        hidden, codes = self._special.hidden(conversation)
        disguised = self._text(hidden)
        if revealed(disguised, codes) != text:
            raise RowError("special tokens in a message", "the template does not show the message as it is")
        if self._aliases is None:
            self._aliases = AliasTokenizer(self._tokenizer, self._special)
        return self._aliases.read(disguised, codes, [])[1]


def main() -> int:
    """Answer chats until there are no more; 0 at the end, 1 when the template cannot be used at all."""
    from forge.ml.serve.model_folder import read_tokenizer

    begun = json.loads(sys.stdin.readline())
    try:
        encoder = ChatEncoder(read_tokenizer(begun["tokenizer"]), begun["template"], begun["special_tokens"])
    except (ValueError, RowError) as error:
        _say({"error": f"the chat template cannot be used: {error}"})
        return 1
    _say({"ready": True})
    for line in sys.stdin:
        _say(_answer(encoder, json.loads(line)))
    return 0


def _answer(encoder: ChatEncoder, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"tokens": encoder.encode(asked["messages"], asked.get("tools"), asked.get("variables"))}
    except RowError as error:
        return {"error": str(error)}
    except (UnicodeEncodeError, RecursionError) as error:
        return {"error": f"the chat cannot be written as text: {type(error).__name__}"}


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
