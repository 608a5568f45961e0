"""Tokens to text while they come: whole characters only, and nothing that may be the beginning of a stop string."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

__all__ = ["TextStream"]

_HALF: Final = "\ufffd"
_MOST_HALVES: Final = 8  # tokens; no character has more bytes than these can hold back


class TextStream:
    """The text of one answer. `add` gives what is new and certain; `stopped` says that a stop string was said."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._ids: list[int] = []
        self._known = 0  # tokens whose text is out
        self._before = 0  # tokens before that, which decide about spaces
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that is certain after one more token."""
        self._ids.append(token)
        return self._certain(self._fresh(last=False))

    def finish(self) -> str:
        """The rest of the text, when no more tokens come."""
        if self.stopped:
            return ""
        text = self._certain(self._fresh(last=True))
        rest, self._held = self._held, ""
        return text if self.stopped else text + rest

    def _fresh(self, *, last: bool) -> str:
        """The text of the tokens that are not out yet, unless it ends in the middle of a character."""
        decode = self._tokenizer.decode
        old = decode(self._ids[self._before : self._known])
        new = decode(self._ids[self._before :])
        waiting = len(self._ids) - self._known
        if new.endswith(_HALF) and not last and waiting < _MOST_HALVES:
            return ""
        self._before, self._known = self._known, len(self._ids)
        return new[len(old) :]

    def _certain(self, fresh: str) -> str:
        if self.stopped or not self._stops:
            return "" if self.stopped else fresh
        text = self._held + fresh
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        kept = self._beginning_of_stop(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _beginning_of_stop(self, text: str) -> int:
        """How many characters at the end may become a stop string."""
        longest = max(map(len, self._stops)) - 1
        return next(
            (
                size
                for size in range(min(longest, len(text)), 0, -1)
                if any(stop.startswith(text[-size:]) for stop in self._stops)
            ),
            0,
        )
