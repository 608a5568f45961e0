"""Everything a training run is made of, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from forge.ml.optim.groups import parameter_groups
from forge.ml.parallel.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Precision", "Strategy", "Trainer"]

Strategy = Literal["no", "steps", "epoch"]
Precision = Literal["no", "bf16", "fp16"]

_AT_LEAST_ONE = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "save_total_limit",
)


@dataclass(kw_only=True)
class Trainer:
    """A run: its model, its data, its optimizer, how long it lasts, what it saves. Names are those of Hugging Face.

    `optimizer` and `schedule` are given as functions and are bound here: the optimizer to the model's parameters (vectors such
    as norms and biases do not decay), the schedule to the optimizer. A run measured in epochs (`max_steps` of -1) knows its
    number of steps only once its data is counted; its schedule is bound then, by `bind_schedule`.
    """

    # Shown as themselves these would fill pages.
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    dataset: Any
    optimizer: Any = field(repr=False)
    schedule: Any = field(repr=False)
    parallel: Layout = field(default_factory=Layout)
    logging: Sequence[Any] = ()
    callbacks: Sequence[Any] = ()

    output_dir: str = "output"
    seed: int = 42
    max_steps: int = -1
    num_train_epochs: float = 1.0
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = 1.0

    logging_steps: int = 10
    eval_strategy: Strategy = "no"
    eval_steps: int | None = None
    save_strategy: Strategy = "steps"
    save_steps: int | None = 500
    save_total_limit: int | None = None
    resume_from_checkpoint: str | None = None

    mixed_precision: Precision = "no"
    gradient_checkpointing: bool = False
    enable_activation_offloading: bool = False
    fuse_optim_with_backward: bool = False
    torch_compile: bool = False

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_strategies()
        self._check_memory()
        self.optimizer = self.optimizer(parameter_groups(self.model))
        if self.max_steps > 0:
            self.bind_schedule(self.max_steps)

    def bind_schedule(self, total_steps: int) -> None:
        """Bind the schedule to the optimizer, for a run of this many optimizer steps."""
        self.schedule = self.schedule(self.optimizer, total_steps)

    def _check_numbers(self) -> None:
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        if self.max_steps < 1 and self.max_steps != -1:
            raise ValueError(f"max_steps is at least 1, or -1 to go by num_train_epochs, not {self.max_steps}")
        if self.num_train_epochs <= 0:
            raise ValueError(f"num_train_epochs is above 0, not {self.num_train_epochs}")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm is above 0, or null for no clipping, not {self.max_grad_norm}")

    def _check_strategies(self) -> None:
        for what in ("eval", "save"):
            strategy, steps = getattr(self, f"{what}_strategy"), getattr(self, f"{what}_steps")
            if strategy not in ("no", "steps", "epoch"):
                raise ValueError(f"{what}_strategy is no, steps or epoch, not {strategy!r}")
            if strategy == "steps" and steps is None:
                raise ValueError(f"{what}_strategy is steps: {what}_steps has to say how many")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"mixed_precision is no, bf16 or fp16, not {self.mixed_precision!r}")

    def _check_memory(self) -> None:
        if not self.fuse_optim_with_backward:
            return
        if self.gradient_accumulation_steps > 1:
            raise ValueError(
                "fuse_optim_with_backward frees each gradient at once, so none can be accumulated: "
                "set gradient_accumulation_steps to 1"
            )
        if self.max_grad_norm is not None:
            raise ValueError(
                "fuse_optim_with_backward never has all gradients at once, so their norm is unknown: set max_grad_norm to null"
            )
