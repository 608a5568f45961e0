"""Texts that are held to a JSON schema, token by token, by the library llguidance where it is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from forge.ml.serve.engine import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Collection

    from tokenizers import Tokenizer

__all__ = ["Constraint", "Grammars", "missing_grammars"]

_LARGEST: Final = 64 << 10


def missing_grammars() -> str:
    """Why texts cannot be held to a schema here; an empty text when they can."""
    if find_spec("llguidance") is None:
        return "this server has no library for it: pip install 'forge[serve]', or pip install llguidance"
    return ""


class Constraint:
    """Where one text stands in its schema."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self) -> bytes:
        """A bit for each token, set where the token may come next."""
        return bytes(self._matcher.compute_bitmask())

    def take(self, token: int) -> bool:
        """Go on by a token; False when the text is complete, or cannot go on."""
        return bool(self._matcher.consume_token(token)) and not self._matcher.is_stopped()


class Grammars:
    """Makes constraints for the texts of one tokenizer; the library's own form of it is made when it is first needed."""

    def __init__(self, tokenizer: Tokenizer, ends: Collection[int], vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._ends = sorted(ends)
        self._vocabulary = vocabulary
        self._known: Any = None

    def begin(self, schema: str) -> Constraint:
        """A constraint for a text from its beginning; RequestRefused when the schema cannot be used."""
        if reason := missing_grammars():
            raise RequestRefused(reason, "response_format")
        from llguidance import LLMatcher, LLParserLimits

        if len(schema) > _LARGEST:
            raise RequestRefused(f"the schema has more than {_LARGEST >> 10} KiB", "response_format")
        grammar = LLMatcher.grammar_from_json_schema(json.loads(schema), overrides={"whitespace_flexible": False})
        matcher = LLMatcher(self._library_tokenizer(), grammar, log_level=0, limits=LLParserLimits())
        if matcher.is_error():
            reason = (matcher.get_error().splitlines() or ["it does not compile"])[0][:200]
            raise RequestRefused(f"the schema cannot be used: {reason}", "response_format")
        return Constraint(matcher)

    def _library_tokenizer(self) -> Any:
        from llguidance import LLTokenizer

        if self._known is None:
            described = json.loads(self._tokenizer.to_str()) | {"truncation": None, "padding": None}
            self._known = LLTokenizer(json.dumps(described), n_vocab=self._vocabulary, eos_token=self._ends or None)
        return self._known
