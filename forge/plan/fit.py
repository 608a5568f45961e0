"""The layouts of a model that fit into the memory of so many processes, the quickest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from forge.plan.asked import RunQuestion
from forge.plan.capability import is_possible
from forge.plan.layout import Layout
from forge.plan.memory import pipeline_memory
from forge.plan.near import divisors, override_lines
from forge.plan.speed import step_seconds
from forge.plan.waiting import waits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.plan.setup import TrainingSetup
    from forge.plan.speed import Hardware

__all__ = ["Fitting", "fitting_layouts"]

# A GPU's context, and what lies in pieces too small to use.
_CONTEXT: Final = 0.8e9
_USABLE: Final = 0.95
_MOST_STAGES: Final = 64
_MOST_TENSOR: Final = 8


@dataclass(frozen=True)
class Fitting:
    """A layout that fits: the overrides that lead to it, its peak, and how long a token takes compared to others."""

    setup: TrainingSetup
    overrides: str
    peak: float
    bubble: float
    tokens_per_second: float


def fitting_layouts(
    setup: TrainingSetup, before: Layout, *, room: float, ranks: int, hardware: Hardware, prefix: str = "parallel"
) -> list[Fitting]:
    """Every layout on so many processes that leaves `room` bytes enough, the quickest first.

    The other settings stay as they are, but where that does not fit, layers are checkpointed, and then a process takes one
    row at a time.
    """
    usable = room * _USABLE - _CONTEXT if setup.device == "cuda" else room * _USABLE
    found: list[Fitting] = []
    fitted: set[Layout] = set()
    for settings, words in _savings(setup):
        for layout in _layouts(settings, ranks):
            made = None if layout in fitted else _fits(settings, layout, ranks, usable)
            if made is not None:
                fitted.add(layout)
                found.append(_fitting(*made, before, words, hardware, prefix))
    return _one_of_each_kind(sorted(found, key=lambda one: (-one.tokens_per_second, one.peak, one.overrides)))


def _one_of_each_kind(found: list[Fitting]) -> list[Fitting]:
    """The best of those that differ in nothing but what they share, or in their schedule."""
    best: dict[tuple[int, ...], Fitting] = {}
    for one in found:
        layout = one.setup.layout
        best.setdefault((layout.pp, layout.dp_replicate, layout.dp_shard, layout.cp, layout.tp), one)
    return list(best.values())


def _savings(setup: TrainingSetup) -> Iterator[tuple[TrainingSetup, str]]:
    """The settings, and after them those that save more and more memory, with the words that say so."""
    words = ""
    yield setup, words
    if setup.checkpointing is False:
        setup, words = replace(setup, checkpointing=True), "trainer.gradient_checkpointing=true"
        yield setup, words
    if setup.batch_size > 1:
        words = f"{words} trainer.per_device_train_batch_size=1".strip()
        yield replace(setup, batch_size=1), words


def _fits(setup: TrainingSetup, layout: Layout, ranks: int, room: float) -> tuple[TrainingSetup, float] | None:
    """The setup in a layout and its peak, if that is possible and not above the room."""
    asked = RunQuestion(
        shape=setup.shape,
        layout=layout,
        ranks=ranks,
        sequence_length=setup.sequence_length,
        batch_size=setup.batch_size,
        accumulation=setup.accumulation,
        device=setup.device,
        choices=setup.choices,
    )
    if not is_possible(asked):
        return None
    made = replace(setup, layout=layout, ranks=ranks)
    peak = max(memory.peak for memory in pipeline_memory(made))
    return (made, peak) if peak <= room else None


def _fitting(setup: TrainingSetup, peak: float, before: Layout, words: str, hardware: Hardware, prefix: str) -> Fitting:
    lines = " ".join(part for part in (override_lines(setup.layout, before, prefix), words) if part)
    speed = setup.tokens_per_step / step_seconds(setup, hardware)
    return Fitting(setup, lines, peak, waits(setup), speed)


def _layouts(setup: TrainingSetup, ranks: int) -> Iterator[Layout]:
    for pp in divisors(ranks):
        if pp <= min(_MOST_STAGES, setup.shape.layers):
            for cp in divisors(ranks // pp):
                for tp in divisors(ranks // pp // cp):
                    if tp <= _MOST_TENSOR:
                        yield from _data_parallel(setup, pp, cp, tp, ranks // pp // cp // tp)


def _data_parallel(setup: TrainingSetup, pp: int, cp: int, tp: int, rest: int) -> Iterator[Layout]:
    tensor = tp > 1
    for share in divisors(rest):
        for stage in (0,) if share == 1 else (1, 2, 3):
            for schedule, stages, microbatches in _schedules(setup, pp):
                yield Layout(
                    pp=pp,
                    dp_replicate=rest // share,
                    dp_shard=share,
                    cp=cp,
                    tp=tp,
                    pp_schedule=schedule,  # type: ignore[arg-type]
                    microbatches=microbatches,
                    stages_per_rank=stages,
                    zero_stage=stage,
                    sequence_parallel=tensor,
                    loss_parallel=tensor and not setup.whole_logits,
                )


def _schedules(setup: TrainingSetup, pp: int) -> Iterator[tuple[str | None, int, int]]:
    """The schedules worth a look, with as many microbatches as the rows of a batch allow."""
    if pp == 1:
        yield None, 1, 1
        return
    count = setup.batch_size
    if count < pp:
        return
    yield "1f1b", 1, count
    if 2 * pp <= setup.shape.layers:
        yield "interleaved_1f1b", 2, count
        if count >= 2 * pp:
            yield "zbv", 2, count
