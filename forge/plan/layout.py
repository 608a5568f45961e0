"""One mesh, ``pp x dp_replicate x dp_shard x cp x tp``, as a value that can be checked without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SPLITTING", "Layout", "PipelineSchedule"]

PipelineSchedule = Literal[
    "gpipe", "1f1b", "interleaved_1f1b", "looped_bfs", "interleaved_zero_bubble", "zbv", "dualpipev"
]

SPLITTING: Final = ("interleaved_zero_bubble", "zbv", "dualpipev")
"""The schedules that make a backward pass in two halves, that of inputs and that of weights."""

_ONE_STAGE: Final = ("gpipe", "1f1b")
_TWO_STAGES: Final = ("zbv", "dualpipev")  # folded into a V
_MANY_STAGES: Final = ("interleaved_1f1b", "looped_bfs", "interleaved_zero_bubble")
_REST: Final = -1
_GRADIENTS_SHARDED: Final = 2
_WHOLE_WEIGHTS_SHARDED: Final = 3
_SWITCHES: Final = ("reshard_after_forward", "cpu_offload", "sequence_parallel", "loss_parallel")


@dataclass(frozen=True)
class Layout:
    """How a model and its data are spread over the processes of a run.

    `pp` counts the processes of a pipeline, `dp_replicate` the copies of the model, `dp_shard` the processes that share one
    copy, `cp` the pieces of a sequence, `tp` the pieces of a matrix. One of the two data-parallel degrees may be -1: all
    processes that remain. `zero_stage` says what `dp_shard` divides: 1 optimizer state, 2 gradients too, 3 weights too; where
    nothing is said, all three. `stage_layers` are the layers of each stage of a pipeline, in the order in which the stages follow one
    another; where nothing is said, stages are balanced by what they cost.
    """

    pp: int = 1
    dp_replicate: int = 1
    dp_shard: int = 1
    cp: int = 1
    tp: int = 1
    pp_schedule: PipelineSchedule | None = None
    microbatches: int = 1
    stages_per_rank: int = 1
    stage_layers: Sequence[int] | None = None
    zero_stage: int | None = None
    reshard_after_forward: bool = True
    cpu_offload: bool = False
    sequence_parallel: bool = False
    loss_parallel: bool = False

    def __post_init__(self) -> None:
        if self.zero_stage is None:
            object.__setattr__(self, "zero_stage", 0 if self.dp_shard == 1 else _WHOLE_WEIGHTS_SHARDED)
        if isinstance(self.stage_layers, list):
            object.__setattr__(self, "stage_layers", tuple(self.stage_layers))
        self._check_switches()
        self._check_degrees()
        self._check_pipeline()
        self._check_stages()
        self._check_sharding()
        self._check_tensor()

    @property
    def fixed_ranks(self) -> int:
        """The number of processes that the degrees multiply to, without one that is -1."""
        ranks = 1
        for degree in (self.pp, self.dp_replicate, self.dp_shard, self.cp, self.tp):
            ranks *= degree if degree != _REST else 1
        return ranks

    @property
    def stages(self) -> int:
        """The number of all stages of a pipeline."""
        return self.pp * self.stages_per_rank

    def stages_of(self, place: int) -> list[int]:
        """The stages of the process at a place of the pipeline: one after a whole round, or folded back into a V."""
        if self.pp_schedule in _TWO_STAGES:
            return [place, self.stages - 1 - place]
        return [place + loop * self.pp for loop in range(self.stages_per_rank)]

    @property
    def fewest_microbatches(self) -> int:
        """So many a schedule needs: with fewer there is a process that never works while others do."""
        return self.pp * 2 if self.pp_schedule in _TWO_STAGES else self.pp

    @property
    def shards_state(self) -> bool:
        """Whether the optimizer's state is divided."""
        return self.zero_stage != 0

    @property
    def shards_gradients(self) -> bool:
        """Whether gradients are divided from the first batch of a step on."""
        return self.zero_stage in (_GRADIENTS_SHARDED, _WHOLE_WEIGHTS_SHARDED)

    @property
    def shards_weights(self) -> bool:
        """Whether weights are divided, but for the layer that computes."""
        return self.zero_stage == _WHOLE_WEIGHTS_SHARDED

    def splits(self, *, again: bool) -> bool:
        """Whether backward passes are made in two halves.

        Where layers are computed ``again``, or have their weights in pieces, the halves would cost more than they fill.
        """
        return self.pp_schedule in SPLITTING and not again and self.dp_replicate * self.dp_shard * self.cp == 1

    def for_ranks(self, ranks: int) -> Layout:
        """The same layout on a given number of processes, with -1 replaced by the processes that remain."""
        rest, left_over = divmod(ranks, self.fixed_ranks)
        if _REST not in (self.dp_replicate, self.dp_shard):
            rest, left_over = 1, ranks - self.fixed_ranks
        if left_over or not rest:
            raise ValueError(f"{self._degrees()} does not fit {ranks} processes: it needs {self._needs()}")
        return replace(
            self,
            dp_replicate=rest if self.dp_replicate == _REST else self.dp_replicate,
            dp_shard=rest if self.dp_shard == _REST else self.dp_shard,
        )

    def _degrees(self) -> str:
        names = ("pp", "dp_replicate", "dp_shard", "cp", "tp")
        named = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != 1]
        return " x ".join(named) or "one process"

    def _needs(self) -> str:
        many = _REST in (self.dp_replicate, self.dp_shard)
        return f"a multiple of {self.fixed_ranks}" if many else f"exactly {self.fixed_ranks}"

    def _check_degrees(self) -> None:
        for name in ("pp", "dp_replicate", "dp_shard", "cp", "tp", "microbatches", "stages_per_rank"):
            if type(getattr(self, name)) is not int:
                raise ValueError(f"{name} is a whole number, not {getattr(self, name)!r}")
        for name in ("pp", "cp", "tp", "microbatches", "stages_per_rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("dp_replicate", "dp_shard"):
            degree = getattr(self, name)
            if degree < 1 and degree != _REST:
                raise ValueError(f"{name} is at least 1, or -1 for all processes that remain, not {degree}")
        if self.dp_replicate == self.dp_shard == _REST:
            raise ValueError("only one of dp_replicate and dp_shard can be -1")

    def _check_switches(self) -> None:
        for name in _SWITCHES:
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} is true or false, not {getattr(self, name)!r}")

    def _check_pipeline(self) -> None:
        if self.pp == 1:
            if self.pp_schedule or self.microbatches > 1 or self.stages_per_rank > 1:
                raise ValueError("pp_schedule, microbatches and stages_per_rank belong to a pipeline: set pp above 1")
            return
        needed = _stages_needed(self.pp_schedule)
        if self.stages_per_rank not in needed:
            raise ValueError(f"{self.pp_schedule} has {_counted(needed)} on each rank, not {self.stages_per_rank}")
        if self.microbatches < self.fewest_microbatches:
            raise ValueError(
                f"{self.microbatches} microbatches leave a pipeline of {self.pp} idle: "
                f"{self.pp_schedule} needs {self.fewest_microbatches} or more"
            )

    def _check_stages(self) -> None:
        sizes = self.stage_layers
        if sizes is None:
            return
        shown = f"[{', '.join(map(str, sizes))}]" if isinstance(sizes, tuple) else repr(sizes)
        if not isinstance(sizes, tuple) or any(type(size) is not int for size in sizes):
            raise ValueError(f"stage_layers is a list of whole numbers, or null, not {shown}")
        if self.pp == 1:
            raise ValueError("stage_layers belongs to a pipeline: set pp above 1")
        if len(sizes) != self.stages:
            each = f" with {self.stages_per_rank} stages each" if self.stages_per_rank > 1 else ""
            named = f"{len(sizes)} stages" if len(sizes) != 1 else "1 stage"
            raise ValueError(f"stage_layers={shown} names {named}, and pp={self.pp}{each} has {self.stages}")
        if min(sizes) < 1:
            raise ValueError(f"stage_layers={shown} leaves a stage without a layer: each has at least one")

    def _check_sharding(self) -> None:
        if type(self.zero_stage) is not int or not 0 <= self.zero_stage <= _WHOLE_WEIGHTS_SHARDED:
            raise ValueError(f"zero_stage is 0, 1, 2 or 3, not {self.zero_stage}")
        if self.zero_stage == 0 and self.dp_shard != 1:
            raise ValueError(
                "dp_shard needs a zero_stage from 1 to 3, which says what is divided, or null for 3, and not 0"
            )
        if self.zero_stage > 0 and self.dp_shard == 1:
            raise ValueError(
                f"zero_stage={self.zero_stage} divides nothing over dp_shard=1: raise dp_shard, or set it to -1"
            )
        if self.cpu_offload and not self.shards_weights:
            raise ValueError("cpu_offload keeps sharded weights in host memory: it needs zero_stage=3")

    def _check_tensor(self) -> None:
        for name in ("sequence_parallel", "loss_parallel"):
            if getattr(self, name) and self.tp == 1:
                raise ValueError(f"{name} is a part of tensor parallelism: set tp above 1")


def _stages_needed(schedule: str | None) -> range:
    """The numbers of stages per rank that a schedule can run."""
    if schedule in _ONE_STAGE:
        return range(1, 2)
    if schedule in _TWO_STAGES:
        return range(2, 3)
    if schedule in _MANY_STAGES:
        return range(2, 1000)
    known = ", ".join((*_ONE_STAGE, *_MANY_STAGES, *_TWO_STAGES))
    instead = "" if schedule is None else f", not {schedule}"
    raise ValueError(f"a pipeline needs a pp_schedule, one of {known}{instead}")


def _counted(numbers: range) -> str:
    if len(numbers) > 1:
        return f"{numbers[0]} or more stages"
    return "exactly 1 stage" if numbers[0] == 1 else f"exactly {numbers[0]} stages"
