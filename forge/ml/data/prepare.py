"""From a corpus and a tokenizer to sequences: rows are encoded once and kept, and packed each time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import forge.ml.chat
from forge.base.errors import DataError
from forge.ml.data.cache import encoded, kept
from forge.ml.data.corpus import Mixture, TextCorpus
from forge.ml.data.mixture import Mixed
from forge.ml.data.pool import Pool
from forge.ml.data.report import Report, hint_for
from forge.ml.data.source import RowSource, check_not_empty, fingerprint, is_streaming, place_of
from forge.ml.data.split import Split, split_of
from forge.ml.data.stream import Stream
from forge.ml.data.worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from forge.ml.data.corpus import ChatCorpus, Corpus, HeldOut
    from forge.ml.data.tokens import Tokens

__all__ = ["HELD_OUT", "Prepared", "Sequences", "held_out_sets", "job_for", "prepare"]

Sequences = Split | Stream | Mixed
"""What a loader can load from."""

HELD_OUT: Final = "held_out"
"""What a held-out set is called that has no name of its own."""

# The files of this package that decide what a row's tokens are, or how they are kept.
_DECIDING: Final = ("cache.py", "tokens.py", "worker.py")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a run learns from and is evaluated on, by the names of the held-out sets; what became of the rows to learn from."""

    train: Sequences
    held_out: dict[str, Split]

    @property
    def report(self) -> Report:
        """What became of the rows to learn from."""
        return self.train.report

    def lines(self) -> list[str]:
        """One line for each reason for which rows are not used, or used in part, with the name of their set where it has one."""
        parts = self.train.parts.items() if isinstance(self.train, Mixed) else [("", self.train)]
        found = [f"{name}: {line}" if name else line for name, part in parts for line in part.report.lines()]
        for name, split in self.held_out.items():
            found += [f"{_held_out_called(name)}: {line}" for line in split.report.lines()]
        return found


def prepare(
    corpus: Corpus | Mixture,
    tokenizer: Any,
    *,
    workers: int | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Prepared:
    """Turn a corpus into sequences; DataError when there is nothing to learn from it.

    Rows are encoded in ``workers`` processes (as many as there are processors) and kept in the user's cache, under a hash of
    all that their tokens depend on. ``progress`` is told what is being encoded and how many rows have been read.
    """
    if isinstance(corpus, Mixture):
        return _prepare_mixture(corpus, tokenizer, workers, progress)
    return Prepared(*_Preparation("", corpus, tokenizer, 0, workers, progress).result())


def _prepare_mixture(
    mixture: Mixture, tokenizer: Any, workers: int | None, progress: Callable[[str, int], None] | None
) -> Prepared:
    parts: dict[str, Split | Stream] = {}
    held_out: dict[str, Split] = {}
    for source, (name, corpus) in enumerate(mixture.datasets.items()):
        parts[name], own = _Preparation(name, corpus, tokenizer, source, workers, progress).result()
        held_out |= own
    weights = None if mixture.weights is None else dict(mixture.weights)
    return Prepared(Mixed(parts, weights, mixture.seed), held_out)


class _Preparation:
    """One corpus on its way."""

    def __init__(
        self,
        name: str,
        corpus: Corpus,
        tokenizer: Any,
        source: int,
        workers: int | None,
        progress: Callable[[str, int], None] | None,
    ) -> None:
        self.name, self.corpus, self.source = name, corpus, source
        self.workers, self.progress = workers, progress
        check_not_empty(corpus.train, self._called("the dataset"))
        self.job = job_for(corpus, tokenizer)
        self.pool = Pool(self.job, workers)

    def result(self) -> tuple[Split | Stream, dict[str, Split]]:
        """The rows to learn from, and the held-out sets."""
        with self.pool:
            return self.train(), self.held_out()

    def train(self) -> Split | Stream:
        """The rows to learn from."""
        rows = self.corpus.train
        if not is_streaming(rows):
            return self._split(rows, self._called("the dataset"))
        return Stream(
            rows,
            self.job,
            facts={**_facts(self.job), "rows": fingerprint(rows)},
            workers=self.workers,
            source=self.source,
            **self._shape(),
        )

    def held_out(self) -> dict[str, Split]:
        """The held-out sets by their names."""
        return {
            name: self._split(rows, f"the {_held_out_called(name)}")
            for name, rows in held_out_sets(self.corpus.held_out, self.name)
        }

    def _called(self, what: str) -> str:
        return f"{what} {self.name}" if self.name else what

    def _shape(self) -> dict[str, Any]:
        return {name: getattr(self.corpus, name) for name in ("max_length", "packing", "overflow")}

    def _split(self, rows: Iterable[Any], what: str) -> Split:
        tokens, report, content = self._encoded(rows, what)
        facts = {**_facts(self.job), "rows": content}
        split = split_of(tokens, report, facts=facts, source=self.source, **self._shape())
        split.report.locate(partial(place_of, rows))
        if not split.report.trained:
            reasons = split.report.lines()
            raise DataError(
                f"{what} has nothing to learn" + (f": {reasons[0]}" if reasons else ""),
                hint="\n  ".join([*reasons[1:], hint_for(split.report.most_frequent())]),
            )
        return split

    def _encoded(self, rows: Iterable[Any], what: str) -> tuple[Tokens, Report, str]:
        check_not_empty(rows, what)
        content = fingerprint(rows)
        key = _key(self.job, content)
        found = encoded(key)
        if found is not None:
            return *found, content
        report = Report()
        examples = self.pool.examples(self._watched(rows, what), report)
        tokens = kept(key, self._checked(examples, rows, content, what), report)
        return tokens, report, content

    def _checked(self, examples: Iterator[Any], rows: Iterable[Any], content: str, what: str) -> Iterator[Any]:
        """Pass the examples on; DataError when they are of other rows than those that the entry will be found by."""
        yield from examples
        if fingerprint(rows) != content:
            raise DataError(f"{what} has changed while it was read", hint="start again when nothing writes to it")

    def _watched(self, rows: Iterable[Any], what: str) -> Iterator[Any]:
        for number, row in enumerate(rows, start=1):
            yield row
            if self.progress is not None and number % 100 == 0:
                self.progress(what, number)


def held_out_sets(held_out: HeldOut, name: str) -> list[tuple[str, Iterable[Any]]]:
    """The held-out sets of a dataset and what a run calls them; none when there are no rows and no names."""
    if held_out is None:
        return []
    if isinstance(held_out, Mapping):
        return [(f"{name}/{own}" if name else str(own), rows) for own, rows in held_out.items()]
    if not isinstance(held_out, RowSource) and next(iter(held_out), None) is None:
        return []
    return [(name or HELD_OUT, held_out)]


def job_for(corpus: Corpus, tokenizer: Any) -> Job:
    """All that decides how the rows of a corpus become tokens; DataError when they cannot."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError(
            f"{type(tokenizer).__name__} cannot prepare data", hint="take a fast tokenizer: one with a tokenizer.json"
        )
    text = backend.to_str()
    if isinstance(corpus, TextCorpus):
        return Job(text, text=corpus.column, end=tokenizer.eos_token_id)
    try:
        row_format = corpus.row_format()
    except ValueError as error:
        raise DataError(str(error)) from error
    if row_format.name == "text":
        return Job(text, text=row_format.column("text"), end=tokenizer.eos_token_id)
    return Job(text, recipe=_recipe(corpus, row_format, tokenizer), columns=_columns(row_format))


def _recipe(corpus: ChatCorpus, row_format: Any, tokenizer: Any) -> dict[str, Any]:
    named = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return {
        "format": [row_format.name, dict(row_format.columns), dict(row_format.tags)],
        "template": _template(corpus, tokenizer),
        "special_tokens": named,
        "train_on": corpus.train_on,
        "special_in_messages": corpus.special_in_messages,
    }


def _template(corpus: ChatCorpus, tokenizer: Any) -> str | None:
    if corpus.template is not None:
        from forge.ml.data.tokenizer import template_text

        return template_text(corpus.template)
    own = tokenizer.chat_template
    return own.get("default") if isinstance(own, Mapping) else own


def _columns(row_format: Any) -> tuple[str, ...]:
    from forge.ml.chat.formats import COLUMNS

    return tuple(row_format.column(part) for parts in COLUMNS[row_format.name] for part in parts)


def _held_out_called(name: str) -> str:
    return f"held-out set {name}"


def _facts(job: Job) -> dict[str, Any]:
    """What the tokens depend on beside the rows, by the names that a message uses for it."""
    recipe = dict(job.recipe)
    template = recipe.pop("template", None)
    return {
        "tokenizer": _hash(job.tokenizer),
        "chat template": _hash(template),
        "format of the rows": _hash([recipe, job.text, job.end]),
    }


def _key(job: Job, content: str) -> str:
    return _hash([_code(), job.to_json().decode(), content])


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the code that encodes, so that an entry made by other code is not used."""
    digest = hashlib.blake2b(digest_size=16)
    here, chat = os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.abspath(forge.ml.chat.__file__))
    files = [os.path.join(here, name) for name in _DECIDING]
    files += [os.path.join(chat, name) for name in sorted(os.listdir(chat)) if name.endswith(".py")]
    for path in files:
        with open(path, "rb") as file:
            digest.update(file.read())
    digest.update(f"{version('tokenizers')} {version('jinja2')}".encode())
    return digest.hexdigest()


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
