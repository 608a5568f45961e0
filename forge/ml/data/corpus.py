"""What a run learns from: rows of text or of conversations, and how they become sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["ChatCorpus", "Packing", "TextCorpus"]

Packing = Literal["none", "greedy", "best_fit"]


@dataclass(frozen=True)
class TextCorpus:
    """Documents to learn from, and documents held out for evaluation.

    `max_length` and `packing` say how documents become sequences of tokens; they are read by the data loader.
    """

    train: Iterable[str] = field(repr=False)
    held_out: Iterable[str] = field(default=(), repr=False)
    max_length: int = 1024
    packing: Packing = "greedy"

    def __post_init__(self) -> None:
        _check_sequences(self.max_length, self.packing)

    def texts(self) -> Iterator[str]:
        """The documents to learn from; what a new tokenizer is trained on."""
        return iter(self.train)


@dataclass(frozen=True)
class ChatCorpus:
    """Conversations to learn from, and conversations held out for evaluation.

    Each row is a mapping whose `column` holds a list of messages, each with a role and a content. `train_on` says which tokens
    are learned: those of every assistant turn, or all. `max_length`, `packing` and `train_on` are read by the data loader.
    """

    train: Iterable[Mapping[str, Any]] = field(repr=False)
    held_out: Iterable[Mapping[str, Any]] = field(default=(), repr=False)
    column: str = "messages"
    train_on: Literal["assistant", "all"] = "assistant"
    max_length: int = 1024
    packing: Packing = "none"

    def __post_init__(self) -> None:
        _check_sequences(self.max_length, self.packing)
        if self.train_on not in ("assistant", "all"):
            raise ValueError(f"train_on is assistant or all, not {self.train_on!r}")

    def texts(self) -> Iterator[str]:
        """The contents of all messages to learn from; what a new tokenizer is trained on."""
        return (message["content"] for row in self.train for message in row[self.column])


def _check_sequences(max_length: int, packing: str) -> None:
    if max_length < 2:  # noqa: PLR2004 - one token has no next token to predict
        raise ValueError(f"max_length is at least 2 tokens, not {max_length}")
    if packing not in ("none", "greedy", "best_fit"):
        raise ValueError(f"packing is none, greedy or best_fit, not {packing!r}")
