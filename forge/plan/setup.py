"""What of a run decides how much memory it takes and what goes between its processes, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from forge.plan.asked import NOTHING_ELSE
from forge.plan.layout import Layout
from forge.plan.stages import layout_stages

if TYPE_CHECKING:
    from forge.plan.asked import Choices, DeviceKind
    from forge.plan.optimizer_state import OptimizerPlan
    from forge.plan.shape import ModelShape

__all__ = ["LOOPED", "TrainingSetup", "WeightType", "element_size"]

WeightType = Literal["float32", "bfloat16", "float16"]

_SIZES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}

LOOPED: Final = Layout()
"""The layout of one process."""


def element_size(name: str) -> int:
    """The bytes of one number of a type."""
    return _SIZES[name]


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """A model, a layout that is filled in for so many processes, and the settings of a run.

    `batch_size` are the rows a process takes at a time and `sequence_length` their tokens; `checkpointing` is what the trainer
    calls gradient_checkpointing. With an `adapter_rank` only an adapter of that rank is trained, on weights of four bits where
    `four_bits` says so. `whole_logits` is a loss that has the logits of all tokens at once; `scores` an attention that
    keeps one number for each pair of tokens; `lean` are norms and gates that keep no more than what they were given. `choices`
    are what a layout may not go with.
    """

    shape: ModelShape
    optimizer: OptimizerPlan
    layout: Layout = LOOPED
    ranks: int = 1
    device: DeviceKind = "cuda"
    batch_size: int = 8
    sequence_length: int = 1024
    accumulation: int = 1
    weights: WeightType = "bfloat16"
    precision: Literal["no", "bf16", "fp16"] = "no"
    rounding: bool = False
    checkpointing: bool | int | Literal["full", "selective"] = False
    offload: bool = False
    fused: bool = False
    compiled: bool = False
    lean: bool = False
    whole_logits: bool = False
    scores: bool = False
    adapter_rank: int | None = None
    four_bits: bool = False
    choices: Choices = NOTHING_ELSE

    @property
    def weight_size(self) -> int:
        """The bytes of a weight as it is stored."""
        return element_size(self.weights)

    @property
    def compute_size(self) -> int:
        """The bytes of a number between two matrix products."""
        return self.weight_size if self.precision == "no" else 2

    @property
    def cast(self) -> bool:
        """Whether weights are cast for the matrix products."""
        return self.compute_size != self.weight_size

    def gathers_cast(self, layer: int) -> bool:
        """Whether a layer's matrices are gathered in the type that autocast casts to: not where some are of experts."""
        experts = self.shape.experts and layer >= self.shape.dense_layers
        return self.precision != "no" and not experts

    def gathered_size(self, layer: int) -> int:
        """The bytes of a number of a layer's matrices where they are gathered."""
        return self.compute_size if self.gathers_cast(layer) else self.weight_size

    @property
    def replicas(self) -> int:
        """How many processes, or groups of them, take different rows of a batch."""
        return self.layout.dp_replicate * self.layout.dp_shard

    @property
    def microbatches(self) -> int:
        """Into how many pieces a process's batch is cut."""
        return self.layout.microbatches if self.layout.pp > 1 else 1

    @property
    def passes(self) -> int:
        """How many forward passes add up to one step."""
        return self.microbatches * self.accumulation

    @property
    def tokens(self) -> int:
        """The tokens that one process has in one forward pass."""
        rows = self.batch_size / self.microbatches
        return max(1, round(rows * self.sequence_length / self.layout.cp))

    @property
    def tokens_per_step(self) -> int:
        """The tokens that all processes together learn from in one step."""
        return self.batch_size * self.sequence_length * self.accumulation * self.replicas

    @cached_property
    def stages(self) -> list[range]:
        """The layers of each stage of the pipeline."""
        return layout_stages(self.shape, self.layout, self.sequence_length)

    @cached_property
    def whole_step(self) -> Layout:
        """The layout with the microbatches of a step: the batches that add up to one go through a pipeline as if they were one."""
        return replace(self.layout, microbatches=self.passes) if self.layout.pp > 1 else self.layout
