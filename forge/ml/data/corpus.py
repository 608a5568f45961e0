"""What a run learns from: rows of text or of conversations, and how they become sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from forge.base.errors import DataError
from forge.ml.data.pack import Overflow, Packing
from forge.ml.data.part import parted
from forge.ml.data.report import hint_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.ml.chat.formats import FormatName
    from forge.ml.chat.labels import TrainOn

__all__ = ["ChatCorpus", "Corpus", "HeldOut", "Mixture", "TextCorpus"]

HeldOut = Iterable[Any] | Mapping[str, Iterable[Any]] | float | None
"""Rows held out for evaluation, several such sets by name, or how many of the rows to learn from are taken out of these."""


@dataclass(frozen=True)
class TextCorpus:
    """Documents to learn from, and documents held out for evaluation.

    A number in `held_out` takes documents out of those to learn from: a share, or a whole number of the first. A document is a text,
    or a row whose `column` holds one. `max_length` and `packing` say how documents become sequences of tokens, and `overflow` what becomes of one that is longer: it is split over sequences, cut (truncate) or left out (drop).
    """

    train: Iterable[Any] = field(repr=False)
    held_out: HeldOut = field(default=None, repr=False)
    column: str = "text"
    max_length: int = 1024
    packing: Packing = "greedy"
    overflow: Overflow = "split"

    def __post_init__(self) -> None:
        _check_sequences(self.max_length, self.packing, self.overflow)
        _hold_out(self)

    def texts(self) -> Iterator[str]:
        """The documents to learn from; what a new tokenizer is trained on."""
        from forge.ml.chat.conversation import RowError
        from forge.ml.data.source import check_not_empty
        from forge.ml.data.worker import document_of

        refused, count = None, 0
        for row in self.train:
            found = document_of(row, self.column)
            if isinstance(found, RowError):
                refused = refused or found  # all are counted and named when the rows are prepared
                continue
            count += 1
            yield found
        if refused is not None and not count:
            raise DataError(f"no row of the dataset has text: {refused}", hint=hint_for(refused.reason))
        if not count:
            check_not_empty(self.train, "the dataset")


@dataclass(frozen=True)
class ChatCorpus:
    """Conversations to learn from, and conversations held out for evaluation.

    A number in `held_out` takes rows out of those to learn from: a share, or a whole number of the first. The `format` of the rows
    is recognised by their columns unless it is named; `columns` says which column plays which part
    (messages, prompt, completion, instruction, ...) where the names are others, `column` that of the messages alone, and `tags` which keys
    and words the messages use. `template` is a chat template by its name or its file, in place of the tokenizer's own.
    `train_on` says what is learned: each assistant turn, what follows the last user turn (completion), the last assistant turn, or all; a
    message with ``train: true`` or ``false`` decides for itself. `special_in_messages` lets special tokens in messages act as such.
    """

    train: Iterable[Mapping[str, Any]] = field(repr=False)
    held_out: HeldOut = field(default=None, repr=False)
    format: FormatName | None = None
    column: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    train_on: TrainOn = "assistant"
    special_in_messages: bool = False
    max_length: int = 1024
    packing: Packing = "none"
    overflow: Overflow = "truncate"

    def __post_init__(self) -> None:
        from forge.ml.chat.labels import check_train_on

        _check_sequences(self.max_length, self.packing, self.overflow)
        check_train_on(self.train_on)
        _hold_out(self)

    def texts(self) -> Iterator[str]:
        """The contents of all messages to learn from; what a new tokenizer is trained on."""
        from forge.ml.chat.conversation import RowError
        from forge.ml.chat.formats import to_conversation
        from forge.ml.data.source import check_not_empty

        check_not_empty(self.train, "the dataset")
        row_format = self.row_format()
        for row in self.train:
            try:
                conversation = to_conversation(row, row_format)
            except RowError:
                continue  # counted and named when the rows are prepared
            yield from (message["content"] for message in conversation.messages)

    def row_format(self, found: Iterable[str] | None = None) -> Any:
        """How the rows are read; ValueError when they have no known format. ``found`` are their columns, when these are known."""
        from forge.ml.chat.formats import recognise
        from forge.ml.data.source import RowSource, columns_of

        renamed = dict(self.columns)
        if self.column is not None:
            renamed["conversations" if self.format == "sharegpt" else "messages"] = self.column
        columns = columns_of(self.train) if found is None else found
        try:
            return recognise(columns, self.format, renamed=renamed, tags=self.tags)
        except ValueError as error:
            where = f"{self.train.name}: " if isinstance(self.train, RowSource) else ""
            raise ValueError(f"{where}{error}") from error


Corpus = TextCorpus | ChatCorpus
"""Rows of one kind, and how they become sequences."""


@dataclass(frozen=True)
class Mixture:
    """Several datasets learned together. Sequences are drawn from each by its weight, in an order that `seed` decides.

    Weights are parts of the sequences (of the tokens, where they are packed), and need not add up to one. A dataset that is exhausted begins
    again. Without weights each sequence is seen once an epoch.
    """

    datasets: Mapping[str, Corpus]
    weights: Mapping[str, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.datasets:
            raise ValueError("datasets is empty: name at least one dataset")
        self._check_weights()
        for name in ("max_length", "packing"):
            values = {getattr(corpus, name) for corpus in self.datasets.values()}
            if len(values) > 1:
                listed = ", ".join(f"{key}: {getattr(corpus, name)}" for key, corpus in self.datasets.items())
                raise ValueError(f"the datasets of a mixture have one {name}; these have {listed}")

    @property
    def max_length(self) -> int:
        """How many tokens a sequence has at most."""
        return next(iter(self.datasets.values())).max_length

    @property
    def packing(self) -> Packing:
        """How documents share sequences."""
        return next(iter(self.datasets.values())).packing

    def texts(self) -> Iterator[str]:
        """The texts of all datasets; what a new tokenizer is trained on."""
        return (text for corpus in self.datasets.values() for text in corpus.texts())

    def _check_weights(self) -> None:
        if self.weights is None:
            return
        if set(self.weights) != set(self.datasets):
            raise ValueError(
                f"weights name each dataset once: {', '.join(self.datasets)}; these name {', '.join(self.weights)}"
            )
        for name, weight in self.weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name} is a number above 0, not {weight}")


def _hold_out(corpus: Corpus) -> None:
    """Where a number says how many rows are held out, let the corpus have the two parts."""
    if isinstance(corpus.held_out, int | float | str):
        left, held_out = parted(corpus.train, corpus.held_out)
        object.__setattr__(corpus, "train", left)
        object.__setattr__(corpus, "held_out", held_out)


def _check_sequences(max_length: int, packing: str, overflow: str) -> None:
    if max_length < 2:  # noqa: PLR2004 - one token has no next token to predict
        raise ValueError(f"max_length is at least 2 tokens, not {max_length}")
    if packing not in get_args(Packing):
        raise ValueError(f"packing is none, greedy or best_fit, not {packing!r}")
    if overflow not in get_args(Overflow):
        raise ValueError(f"overflow is truncate, drop or split, not {overflow!r}")
