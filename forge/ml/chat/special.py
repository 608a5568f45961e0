"""Special tokens: those that a template writes end turns, those that stand in a message are only text.

A message that holds ``<|im_end|>`` must not end its turn. Such a conversation is rendered twice: as it is, and with each such
string in its messages disguised as a character that no text has. Where both give the same text, the second shows which special
tokens are the template's. The text is then read by a tokenizer that knows only those, under other names. All other
conversations take the ordinary way and get exactly the tokens that the tokenizer gives to their text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tokenizers import AddedToken, Tokenizer

from forge.ml.chat.conversation import Conversation, RowError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenizers import Encoding

    from forge.ml.chat.labels import TextPart

__all__ = ["AliasTokenizer", "SpecialTokens", "revealed"]

_SURROGATE: Final = 0xD800  # no text that can be encoded has any of the 2048 characters from here on
_SURROGATES: Final = 2048
_ALIAS: Final = "<|forge-5b1d2c9e-{}|>"
_ALIAS_HEAD: Final = _ALIAS.partition("{")[0]


class SpecialTokens:
    """The special tokens of a tokenizer, found in texts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()
        self.tokens = {token.content: (number, token) for number, token in added.items() if token.special}
        self.numbers = {number: content for content, (number, _) in self.tokens.items()}
        longest_first = sorted(self.tokens, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._all = tuple(self.tokens)
        self._last = {content[-1] for content in self.tokens}

    def in_conversation(self, conversation: Conversation) -> bool:
        """Whether a message, a tool or a variable holds the text of a special token."""
        search = self.pattern.search
        for message in conversation.messages:
            if search(message["content"]) or (len(message) > 2 and self._inside(message)):  # noqa: PLR2004 - role and content
                return True
        return self._inside(conversation.tools) or self._inside(conversation.variables)

    def _inside(self, value: Any) -> bool:
        if isinstance(value, str):
            return self.pattern.search(value) is not None
        if isinstance(value, dict):
            return any(self._inside(item) for pair in value.items() for item in pair)
        return isinstance(value, list) and any(map(self._inside, value))

    def hidden(self, conversation: Conversation) -> tuple[Conversation, dict[str, str]]:
        """The conversation with other characters for the special tokens in it, and what each stands for."""
        codes: dict[str, str] = {}

        def code(match: re.Match[str]) -> str:
            return codes.setdefault(match[0], chr(_SURROGATE + len(codes)))

        def walk(value: Any) -> Any:
            if isinstance(value, str):
                return self.pattern.sub(code, value)
            if isinstance(value, dict):
                return {walk(key): walk(item) for key, item in value.items()}
            return [walk(item) for item in value] if isinstance(value, list) else value

        parts = {name: walk(getattr(conversation, name)) for name in ("messages", "tools", "variables")}
        if len(codes) > _SURROGATES:
            raise RowError("special tokens in a message", f"{len(codes)} different ones")
        return replace(conversation, **parts), {character: content for content, character in codes.items()}

    def closed(self, text: str, part: TextPart, *, whole_turn: bool) -> TextPart:
        """A learned part up to the special token that ends its turn.

        A whole turn loses the white space behind that token, which no model has to say; a marked part without one gains the
        token that directly follows.
        """
        start, stop = part
        end = start + len(text[start:stop].rstrip())
        if self._ends(text, start, end):
            return (start, end) if whole_turn else part
        following = None if whole_turn else self.pattern.match(text, stop)
        return part if following is None else (start, following.end())

    def _ends(self, text: str, start: int, stop: int) -> bool:
        return stop > start and text[stop - 1] in self._last and text.endswith(self._all, start, stop)


class AliasTokenizer:
    """A tokenizer that reads texts with hidden special tokens: the hidden ones as text, all others as what they are."""

    def __init__(self, tokenizer: Tokenizer, special: SpecialTokens) -> None:
        self._special = special
        self._either = re.compile(f"{special.pattern.pattern}|[\ud800-\udfff]")
        self._alias = {content: _ALIAS.format(index) for index, content in enumerate(special.tokens)}
        self._tokenizer = _aliased(tokenizer, special, self._alias)
        numbers = {self._alias[content]: number for content, (number, _) in special.tokens.items()}
        self._numbers = {
            number: numbers.get(token.content, tokenizer.token_to_id(token.content))
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
        }

    def read(
        self, text: str, codes: Mapping[str, str], parts: Sequence[TextPart]
    ) -> tuple[Encoding, list[int], str, list[TextPart]]:
        """A text with hidden special tokens as tokens.

        Returned are the encoding, the ids that the original tokenizer has for its tokens, the text that was encoded, and where
        the parts stand in that.
        """
        if _ALIAS_HEAD in text:
            raise RowError("special tokens in a message", f"the text holds {_ALIAS_HEAD}")
        pieces: list[str] = []
        places, shifts = [0], [0]
        position = 0
        for match in self._either.finditer(text):
            written = codes.get(match[0]) or self._alias[match[0]]
            pieces += [text[position : match.start()], written]
            position = match.end()
            places.append(position)
            shifts.append(shifts[-1] + len(written) - len(match[0]))
        pieces.append(text[position:])
        aliased = "".join(pieces)
        encoding = self._tokenizer.encode(aliased, add_special_tokens=False)

        def moved(edge: int) -> int:
            return edge + shifts[bisect_right(places, edge) - 1]

        return encoding, self._original(encoding.ids), aliased, [(moved(start), moved(stop)) for start, stop in parts]

    def _original(self, found: list[int]) -> list[int]:
        for number in found:
            if number not in self._numbers and number in self._special.numbers:
                content = self._special.numbers[number]
                raise RowError("special tokens in a message", f"this tokenizer makes {content} of plain text, too")
        return [self._numbers.get(number, number) for number in found]


def revealed(text: str, codes: Mapping[str, str]) -> str:
    """The text that was meant by one with hidden special tokens."""
    return text.translate({ord(character): content for character, content in codes.items()})


def _aliased(tokenizer: Tokenizer, special: SpecialTokens, alias: Mapping[str, str]) -> Tokenizer:
    """The same tokenizer whose special tokens have other names."""
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if not token["special"]]
    found = Tokenizer.from_str(json.dumps(described))
    found.no_truncation()
    found.no_padding()
    for content, (_, token) in special.tokens.items():
        flags = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "normalized")}
        found.add_special_tokens([AddedToken(alias[content], special=True, **flags)])
    return found
