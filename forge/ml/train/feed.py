"""The data of a run: prepared, told of, and cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import DataError
from forge.control.heartbeat import own_heart
from forge.ml.data.loader import Loader, evaluation_batches
from forge.ml.data.prepare import prepare
from forge.ml.parallel.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console
    from rich.status import Status

    from forge.ml.data.batch import Batch
    from forge.ml.data.prepare import Prepared
    from forge.ml.data.report import Report
    from forge.ml.train.start import Start
    from forge.ml.train.trainer import Trainer

__all__ = ["RunData", "feed", "padding_token"]

_USUAL_EPOCHS: Final = 1.0


@dataclass(frozen=True, slots=True)
class RunData:
    """What a run reads: its batches, those of each held-out set, how many steps it takes, and tokens in each, about.

    ``report`` says what became of the rows to learn from; of a stream, of those that have been read so far.
    """

    loader: Loader
    evaluations: Mapping[str, Callable[[], Iterator[Batch]]]
    total_steps: int
    step_tokens: int
    report: Callable[[], Report]


def feed(
    settings: Trainer,
    *,
    flat: bool,
    console: Console,
    world: World | None = None,
    heed: Callable[[], None] | None = None,
    start: Start | None = None,
) -> RunData:
    """Prepare the data of a run; rows that cannot be used are told, data that cannot be learned from is an error.

    ``heed`` is called again and again meanwhile, and ends it by what it raises. ``start`` is the checkpoint that the run goes on from.
    """
    world = world or World(torch.device("cpu"))
    with console.status("preparing the data") as status, world.first_goes_first():
        prepared = prepare(
            settings.dataset,
            settings.tokenizer,
            progress=partial(_tell, status, heed),
        )
    for line in (*_summary(prepared), *prepared.lines()):
        console.print(line)
    if settings.eval_strategy != "no" and not prepared.held_out:
        console.print(
            "nothing is evaluated: no rows are held out; dataset.held_out=0.05 takes one in twenty, or write --eval-strategy no"
        )
    if settings.max_steps > 0 and settings.num_train_epochs != _USUAL_EPOCHS:
        console.print(
            f"max_steps={settings.max_steps} says how long the run is; num_train_epochs={settings.num_train_epochs:g} "
            "is not looked at (--max-steps -1 goes by epochs)"
        )
    pad = padding_token(settings.tokenizer)
    microbatches = world.layout.microbatches
    loader = Loader(
        prepared.train,
        batch_size=settings.per_device_train_batch_size // microbatches,
        accumulation=settings.gradient_accumulation_steps * microbatches,
        seed=settings.seed,
        rank=world.data_rank,
        world=world.data_size,
        pad_id=pad,
        flat=flat,
    )
    size = settings.per_device_eval_batch_size
    evaluations = {
        name: partial(
            evaluation_batches,
            split,
            batch_size=size,
            pad_id=pad,
            flat=flat,
            rank=world.data_rank,
            world=world.data_size,
        )
        for name, split in prepared.held_out.items()
    }
    return RunData(
        loader,
        evaluations,
        _total_steps(settings, loader, start),
        _step_tokens(settings, prepared, loader),
        lambda: prepared.report,
    )


def _tell(status: Status, heed: Callable[[], None] | None, what: str, rows: int) -> None:
    """Say how far the data is, to who looks at the terminal and to who watches over the processes; and hear what they want."""
    if heed is not None:
        heed()
    own_heart().mark("preparing the data")
    status.update(f"preparing {what}: {rows:,} rows")


def padding_token(tokenizer: Any) -> int:
    """The token that fills up a row; it is never looked at, so any will do where the tokenizer names none."""
    return next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)


def _summary(prepared: Prepared) -> list[str]:
    report = prepared.report
    if not report.sequences:
        return []
    count = f"{report.examples:,} example{'s' * (report.examples != 1)} in {report.sequences:,} sequence{'s' * (report.sequences != 1)}"
    return [f"data: {count}, {report.tokens:,} tokens of which {report.trained:,} are trained"]


def _total_steps(settings: Trainer, loader: Loader, start: Start | None) -> int:
    """With those that a checkpoint has behind it, in which a step may have had another number of examples."""
    if settings.max_steps > 0:
        return settings.max_steps
    behind, epochs = (0, 0.0) if start is None else (start.step, start.epoch)
    left = settings.num_train_epochs - epochs
    steps = loader.steps(left) if left > 0 else 0
    if steps is None:
        raise DataError("a stream has no known end, so a run cannot go by epochs", hint="set trainer.max_steps")
    return behind + steps


def _step_tokens(settings: Trainer, prepared: Prepared, loader: Loader) -> int:
    report = prepared.report
    mean = report.tokens / report.sequences if report.sequences else settings.dataset.max_length
    return round(mean * loader.global_batch)
