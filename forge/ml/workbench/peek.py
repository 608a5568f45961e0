"""A real batch, as the model of a run gets it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean
from forge.build.frozen import thaw
from forge.ml.data.show import legend
from forge.ml.models.attention import FLAT
from forge.ml.train.feed import feed, padding_token
from forge.ml.train.place import choose_device
from forge.ml.train.setup import attention_of, build_settings
from forge.ml.workbench.answer import Outcome
from forge.ml.workbench.documents import documents_of, drawn_documents
from forge.ml.workbench.spoken import SpokenConsole

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.build.frozen import Frozen
    from forge.ml.data.batch import Batch
    from forge.ml.train.trainer import Trainer

__all__ = ["peek_batch"]

_DATASET: Final = "dataset"
_TRAIN: Final = "train"


def peek_batch(
    progress: Callable[[str], None],
    *,
    run: str,
    node: str,
    split: str,
    whole: bool,
    width: int,
    colour: bool,
    as_json: bool,
) -> Outcome:
    """The batches of a run's first step, or the first batch of a held-out set, with nothing done to them."""
    frozen = thaw(run)
    settings = _settings(frozen, node)
    batches, head = _batches(settings, split, progress)
    if as_json:
        return Outcome(json.dumps([_plain(batch) for batch in batches]))
    lines = [f"{frozen.facts.config}: {head}", legend(colour=colour)]
    for batch in batches:
        documents = documents_of(batch, padding_token(settings.tokenizer))
        lines += ["", _shape(batch, len(documents))]
        lines += drawn_documents(documents, settings.tokenizer, width=width, colour=colour, whole=whole)
    return Outcome("\n".join(lines))


def _settings(frozen: Frozen, node: str) -> Trainer:
    """The trainer of the config, with another dataset in it where one is named."""
    settings = build_settings(frozen)
    if node == _DATASET:
        return settings
    corpus = frozen.build(node)
    if not hasattr(corpus, "max_length"):
        raise UsageError(
            f"{node} is a {type(corpus).__name__}, and batches are made of a dataset",
            hint=f"`forge build {node}` shows any object",
        )
    return replace(settings, dataset=corpus)


def _batches(settings: Trainer, split: str, progress: Callable[[str], None]) -> tuple[list[Batch], str]:
    """Batches, and in words which."""
    flat = attention_of(settings, choose_device()) in FLAT
    data = feed(settings, flat=flat, console=SpokenConsole(progress))
    with data.loader:
        if split == _TRAIN:
            return data.loader.next(), f"step 1 of {data.total_steps:,}"
        if split in data.evaluations:
            return list(islice(data.evaluations[split](), 1)), f"the first batch of {split}"
    known = [_TRAIN, *data.evaluations]
    raise UsageError(
        f"there is no set {split!r}", hint=did_you_mean(split, known) or f"the sets are {', '.join(known)}"
    )


def _shape(batch: Batch, documents: int) -> str:
    rows, width = batch.input_ids.shape
    padding = rows * width - batch.tokens
    filled = f", {padding:,} of padding" if padding else ""
    return f"{rows:,} x {width:,} tokens{filled}: {documents:,} document{'s' * (documents != 1)}, {batch.trained:,} learned"


def _plain(batch: Batch) -> dict[str, Any]:
    """A batch for programs."""
    return {
        "shape": list(batch.input_ids.shape),
        "tokens": batch.tokens,
        "trained": batch.trained,
        **{name: getattr(batch, name).tolist() for name in ("input_ids", "targets", "position_ids")},
        "lengths": None if batch.lengths is None else batch.lengths.tolist(),
        "rows": [list(pair) for pair in batch.ids],
    }
