"""A run in progress: what the loop, the callbacks and the checkpoints share."""

from __future__ import annotations

import math
import resource
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.ml.train.changes import RunChanges
from forge.ml.train.timeouts import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from forge.ml.checkpoint.saver import Saver
    from forge.ml.data.batch import Batch
    from forge.ml.data.loader import Loader
    from forge.ml.loss import CausalLoss
    from forge.ml.memory.fused import FusedBackward
    from forge.ml.memory.precision import Precision
    from forge.ml.parallel.shares import Shares
    from forge.ml.parallel.world import World
    from forge.ml.train.callback import Callback
    from forge.ml.train.clock import StepClock
    from forge.ml.train.metrics import Metrics
    from forge.ml.train.progress import Progress
    from forge.ml.train.stopping import Stopping
    from forge.ml.train.trainer import Trainer

__all__ = ["Best", "Counts", "Run"]

_RUSAGE_UNIT: Final = 1 if sys.platform == "darwin" else 1024


@dataclass(slots=True)
class Counts:
    """How far a run has come, and at which step and after how many epochs it was last evaluated and saved."""

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    evaluated_step: int = 0
    evaluated_epochs: int = 0
    evaluated_loss: float | None = None
    saved_step: int = -1  # before anything was saved
    saved_epochs: int = 0


@dataclass(slots=True)
class Best:
    """The evaluation with the lowest loss so far, and the step it was made at."""

    loss: float | None = None
    step: int | None = None

    def offer(self, loss: float, step: int) -> bool:
        """Take a loss if it is lower than any before; what is not a number never is."""
        if math.isnan(loss) or (self.loss is not None and loss >= self.loss):
            return False
        self.loss, self.step = loss, step
        return True


@dataclass(kw_only=True)
class Run:
    """One process's part of a run: everything that was set up, and how far it has come."""

    settings: Trainer
    folder: str
    graph: str  # the frozen graph as JSON, which every checkpoint keeps
    fixed: Mapping[str, bytes]  # the files of the config and of the tokenizer, which every checkpoint has
    device: torch.device
    model: Any
    model_path: str | None  # the folder that the model was read from
    base: Mapping[str, str]  # the fingerprints of the weights that an adapter stands on
    tokenizer: Any
    loss: CausalLoss
    optimizer: Any
    schedule: Any
    fused: FusedBackward | None
    precision: Precision
    memory: Callable[[], AbstractContextManager[Any]]  # where the activations of a forward pass are kept
    world: World
    loader: Loader
    evaluations: Mapping[str, Callable[[], Any]]  # the name of each held-out set, and what gives its batches
    total_steps: int
    saver: Saver
    shares: Shares | None  # what this process writes of a checkpoint, where several do
    metrics: Metrics
    clock: StepClock
    progress: Progress
    stopping: Stopping
    callbacks: Sequence[Callback]
    counts: Counts = field(default_factory=Counts)
    best: Best = field(default_factory=Best)
    changes: RunChanges = field(default_factory=RunChanges)
    batch: list[Batch] = field(default_factory=list)
    patience: Patience = field(default_factory=Patience)
    own_loss: float = 0.0  # this process's part of the loss of the last step

    @property
    def step(self) -> int:
        """The number of finished optimizer steps."""
        return self.counts.step

    @property
    def epoch(self) -> float:
        """How often the data has been gone through."""
        return self.loader.epoch

    @property
    def interrupted(self) -> bool:
        """Whether somebody outside wants the run to end before its time."""
        return self.stopping.asked and self.stopping.interrupted

    @property
    def finished(self) -> bool:
        """Whether every step has been taken, or a callback has ended the run."""
        return self.step >= self.total_steps or (self.stopping.asked and not self.stopping.interrupted)

    def stop(self, reason: str) -> None:
        """End the run after this step, as finished: its last state is saved."""
        self.stopping.finish(reason)

    def peak_memory(self) -> int:
        """The most bytes that this process has had, on its GPU if it has one."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_UNIT

    def close(self) -> None:
        """Give back what the run holds."""
        self.metrics.close()
        self.loader.close()
        self.saver.store.release()

    def tell(self, moment: str, *arguments: object) -> None:
        """Call one method of every callback."""
        for callback in self.callbacks:
            getattr(callback, moment)(self, *arguments)
