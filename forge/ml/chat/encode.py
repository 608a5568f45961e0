"""Rows to tokens, and which of them are learned: what a worker process does all day."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.formats import RowFormat, to_conversation
from forge.ml.chat.labels import check_train_on, learned_parts
from forge.ml.chat.limits import Limits, limited, memory_limited
from forge.ml.chat.special import AliasTokenizer, SpecialTokens, revealed
from forge.ml.chat.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tokenizers import Encoding, Tokenizer

    from forge.ml.chat.labels import TextPart, TrainOn

__all__ = ["Encoded", "Recipe", "RowEncoder", "encode"]

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_LONGEST: Final = 32 << 20  # characters; a text beyond it is no conversation


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as tokens. ``learned`` are the runs of tokens that are learned: the first, and the one behind the last."""

    ids: list[int]
    learned: tuple[tuple[int, int], ...]

    @property
    def trained(self) -> list[bool]:
        """For each token whether it is learned."""
        found = [False] * len(self.ids)
        for start, stop in self.learned:
            found[start:stop] = [True] * (stop - start)
        return found

    @property
    def trained_count(self) -> int:
        """How many tokens are learned."""
        return sum(stop - start for start, stop in self.learned)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides, beside the tokenizer, how a row becomes tokens: plain values, for workers and for the key of a cache.

    ``template`` is the text of a chat template; without one, only rows of plain prompts and completions can be encoded.
    ``special_tokens`` are the tokenizer's by their names (``bos_token``, ...). ``special_in_messages`` lets special tokens that
    stand in messages act as such.
    """

    format: RowFormat
    template: str | None
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    train_on: TrainOn = "assistant"
    variables: Mapping[str, Any] = field(default_factory=dict)
    special_in_messages: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_train_on(self.train_on)


class RowEncoder:
    """Encodes rows by a recipe. It runs the template's code under limits, so it belongs into the main thread of a worker.

    A template that does not parse is a ValueError; one that hits a limit while it is compiled, a RowError.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.special = SpecialTokens(tokenizer)
        self.template: Template | None = None
        if recipe.template is not None:
            with memory_limited(recipe.limits), limited(recipe.limits):
                self.template = Template(
                    recipe.template, special_tokens=recipe.special_tokens, variables=recipe.variables
                )

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> list[Encoded | RowError]:
        """Each row as tokens, or why it cannot be used, in order."""
        return self._encoded([_attempt(self._conversation, row) for row in rows])

    def encode_conversations(self, conversations: Iterable[Conversation]) -> list[Encoded | RowError]:
        """Each conversation as tokens, or why it cannot be used, in order."""
        return self._encoded(list(conversations))

    def _conversation(self, row: Mapping[str, Any]) -> Conversation:
        return to_conversation(row, self.recipe.format)

    def text(self, conversation: Conversation) -> tuple[str, list[TextPart]]:
        """The text that is encoded for a conversation, and the parts of it that are learned."""
        if conversation.plain:
            return self._plain(conversation)
        if self.template is None:
            raise RowError("no chat template", "the tokenizer has none, and the config names none")
        _check_tools(conversation, self.template)
        with limited(self.recipe.limits):
            rendered = self.template.render(conversation)
            parts = learned_parts(conversation, rendered, self.template, self.recipe.train_on)
        if len(rendered.text) > _LONGEST:
            raise RowError("the text is too long", f"{len(rendered.text):,} characters")
        if self.recipe.train_on != "all":
            whole_turn = not self.template.marks_speech
            parts = [self.special.closed(rendered.text, part, whole_turn=whole_turn) for part in parts]
        return rendered.text, parts

    def _plain(self, conversation: Conversation) -> tuple[str, list[TextPart]]:
        """A prompt and its completion one behind the other, begun and ended as the tokenizer's own texts are."""
        prompt, completion = (message["content"] for message in conversation.messages)
        text = self._beginning + prompt + completion + self.recipe.special_tokens.get("eos_token", "")
        learned_from = 0 if self.recipe.train_on == "all" else len(self._beginning) + len(prompt)
        return text, [(learned_from, len(text))]

    @cached_property
    def _beginning(self) -> str:
        """The token that begins a text, when the tokenizer puts it there by itself."""
        token = self.recipe.special_tokens.get("bos_token", "")
        first = self.tokenizer.encode("", add_special_tokens=True).ids[:1]
        return token if token and first == [self.tokenizer.token_to_id(token)] else ""

    @cached_property
    def _alias_tokenizer(self) -> AliasTokenizer:
        return AliasTokenizer(self.tokenizer, self.special)

    def _encoded(self, found: list[Conversation | RowError]) -> list[Encoded | RowError]:
        with memory_limited(self.recipe.limits):
            written = [one if isinstance(one, RowError) else _attempt(self._written, one) for one in found]
        # What is left is the tokenizer's work, which runs no template and needs no limits.
        texts = [one.text for one in written if isinstance(one, _Written) and one.codes is None]
        encodings = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False))
        return [
            one
            if isinstance(one, RowError)
            else _learned(next(encodings), one)
            if one.codes is None
            else _attempt(self._read_aliased, one)
            for one in written
        ]

    def _written(self, conversation: Conversation) -> _Written:
        text, parts = self.text(conversation)
        if not text.isascii():
            _check_unicode(text)
        if conversation.plain or self.recipe.special_in_messages or not self.special.in_conversation(conversation):
            return _Written(text, parts)
        hidden, codes = self.special.hidden(conversation)
        disguised, parts = self.text(hidden)
        if revealed(disguised, codes) != text:
            raise RowError("special tokens in a message", "the template does not show the message as it is")
        return _Written(disguised, parts, codes)

    def _read_aliased(self, written: _Written) -> Encoded:
        encoding, ids, text, parts = self._alias_tokenizer.read(written.text, written.codes or {}, written.parts)
        return Encoded(ids, _runs(encoding, text, parts))


@dataclass(frozen=True, slots=True)
class _Written:
    """A conversation's text, the parts of it that are learned, and the special tokens that are hidden in it, if any."""

    text: str
    parts: list[TextPart]
    codes: dict[str, str] | None = None


def encode(
    conversation: Conversation, template: Template, tokenizer: Tokenizer, train_on: TrainOn = "assistant"
) -> Encoded:
    """One conversation as tokens, and which of them are learned; RowError when it cannot be used."""
    recipe = Recipe(
        RowFormat("messages"), template.text, template.special_tokens, train_on, variables=template.variables
    )
    (found,) = RowEncoder(recipe, tokenizer).encode_conversations([conversation])
    if isinstance(found, RowError):
        raise found
    return found


def _attempt(work: Callable[[_Given], _Made], given: _Given) -> _Made | RowError:
    try:
        return work(given)
    except RowError as error:
        return error


def _check_tools(conversation: Conversation, template: Template) -> None:
    """A template that knows nothing of tools would leave them out without a word."""
    if conversation.tools and not template.knows_tools:
        raise RowError("the template knows no tools", "choose one that does, such as qwen, or leave the tools out")
    if not template.knows_tool_calls:
        calling = [index for index, message in enumerate(conversation.messages, start=1) if message.get("tool_calls")]
        if calling:
            raise RowError(
                "the template knows no tool calls", f"message {calling[0]} has one: choose a template such as qwen"
            )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError("broken Unicode", f"half a character: {text[error.start]!r}") from None


def _learned(encoding: Encoding, written: _Written) -> Encoded:
    return Encoded(encoding.ids, _runs(encoding, written.text, written.parts))


def _runs(encoding: Encoding, text: str, parts: Iterable[TextPart]) -> tuple[tuple[int, int], ...]:
    """The runs of tokens that have a character in one of the parts."""
    count = len(encoding)
    runs = []
    for start, stop in parts:
        first, last = _token_at(encoding, text, start, count), _token_at(encoding, text, stop, count)
        # A token that begins inside the part and ends behind it belongs to the part.
        if last < count and stop > start and encoding.char_to_token(stop - 1) == last:
            last += 1
        if first < last:
            runs.append((first, last))
    return tuple(runs)


def _token_at(encoding: Encoding, text: str, position: int, count: int) -> int:
    """The first token with a character at a position or behind it: normalizers and strippers leave some without."""
    while position < len(text):
        found = encoding.char_to_token(position)
        if found is not None:
            return found
        position += 1
    return count
