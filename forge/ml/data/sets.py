"""The sets of rows in a corpus, each with its name and what was prepared from it: what people look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean
from forge.ml.data.corpus import ChatCorpus, Mixture
from forge.ml.data.prepare import HELD_OUT, held_out_sets, prepare
from forge.ml.data.source import fingerprint, is_streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from forge.ml.data.corpus import Corpus
    from forge.ml.data.source import RowSource
    from forge.ml.data.split import Split

__all__ = ["TRAIN", "RowSet", "chosen_sets", "prepared_sets", "remarks"]

TRAIN: Final = "train"
_OF_A_STREAM: Final = 2048
_LOOKED_AT: Final = 1000


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows by their name, the corpus they belong to, and the sequences made of them. ``part`` of a longer stream.

    A name begins with the kind of the rows, and goes on with what a run calls them: ``held_out/talk/easy``.
    """

    name: str
    rows: Iterable[Any]
    corpus: Corpus
    split: Split
    part: bool = False

    @property
    def held_out(self) -> bool:
        """Whether these rows are for evaluation."""
        return self.name.split("/")[0] != TRAIN


def prepared_sets(
    corpus: Corpus | Mixture, tokenizer: Any, *, progress: Callable[[str, int], None] | None = None
) -> list[RowSet]:
    """Every set of a corpus, prepared; of a stream, its first rows."""
    if not isinstance(corpus, Mixture):
        return _sets_of("", corpus, tokenizer, progress)
    return [found for name, own in corpus.datasets.items() for found in _sets_of(name, own, tokenizer, progress)]


def chosen_sets(sets: list[RowSet], wanted: str | None) -> list[RowSet]:
    """The sets of one kind, ``train`` or ``held_out``, or of one name, as a run says it or in part; all without a name."""
    if wanted is None:
        return sets
    found = [each for each in sets if wanted == (HELD_OUT if each.held_out else TRAIN)]
    found = found or [each for each in sets if f"/{each.name}".endswith(f"/{wanted}")]
    if found:
        return found
    names = list(dict.fromkeys([TRAIN, *(each.name for each in sets)]))
    if wanted == HELD_OUT:
        raise UsageError("nothing is held out", hint="dataset.held_out=0.05 holds out one row in twenty")
    raise UsageError(
        f"there is no set {wanted!r}", hint=did_you_mean(wanted, names) or f"the sets are {', '.join(names)}"
    )


def remarks(found: RowSet, tokenizer: Any) -> list[str]:
    """What is to be known about a set before it is used: rows that are lost, and turns that nothing ends."""
    lines = found.split.report.lines()
    if isinstance(found.corpus, ChatCorpus):
        count = min(len(found.split.tokens), _LOOKED_AT)
        unended = _unended(found, tokenizer, count)
        if unended:
            lines.append(
                f"{unended:,} of {count:,} examples end with no special token, so that a model would not learn to stop: "
                "this tokenizer has no token for what ends a turn in the template"
            )
    return lines


def _unended(found: RowSet, tokenizer: Any, count: int) -> int:
    """How many of the first examples have an ordinary token as the last one that is learned."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special = {number for number, token in added.items() if token.special}
    unended = 0
    for number in range(count):
        ids, learned = found.split.tokens.example(number)
        last = ids[learned].tolist()[-1:]
        # White space behind the end of a turn is learned where everything is.
        blank = tokenizer.backend_tokenizer.decode(last).isspace() if last else True
        unended += not (blank or last[0] in special)
    return unended


def _sets_of(name: str, corpus: Corpus, tokenizer: Any, progress: Callable[[str, int], None] | None) -> list[RowSet]:
    streaming = is_streaming(corpus.train)
    if streaming:
        corpus = replace(corpus, train=_Beginning(corpus.train))  # type: ignore[arg-type]
    prepared = prepare(corpus, tokenizer, progress=progress)
    training = f"{TRAIN}/{name}" if name else TRAIN
    sets = [RowSet(training, corpus.train, corpus, prepared.train, part=streaming)]  # type: ignore[arg-type]
    named = held_out_sets(corpus.held_out, name)
    for (called, rows), split in zip(named, prepared.held_out.values(), strict=True):
        sets.append(RowSet(called if called == HELD_OUT else f"{HELD_OUT}/{called}", rows, corpus, split))
    return sets


class _Beginning:
    """The first rows of a stream, read once, which know where they stand in it."""

    streaming = False

    def __init__(self, stream: RowSource) -> None:
        self.stream = stream
        self.name = stream.name
        self.rows = tuple(islice(stream, _OF_A_STREAM))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def rows_from(self, first: int) -> Iterator[Any]:
        return iter(self.rows[first:])

    def fingerprint(self) -> str:
        return fingerprint(self.rows)

    def place(self, row: int) -> str:
        return self.stream.place(row)
