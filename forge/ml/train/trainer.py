"""Everything a training run is made of, as one value; nothing is bound or begun here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from forge.plan.layout import Layout
from forge.plan.limits import broken_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Strategy", "Trainer"]

Strategy = Literal["no", "steps", "epoch"]

_PATHS = {
    "output_dir": "the path of a folder",
    "resume_from_checkpoint": "auto or the path of a checkpoint",
}
_CHOICES: dict[str, tuple[object, ...]] = {
    "eval_strategy": ("no", "steps", "epoch"),
    "save_strategy": ("no", "steps", "epoch"),
    "on_save_error": ("fail", "warn"),
    "mixed_precision": ("auto", "no", "bf16", "fp16"),
    "torch_compile": ("auto", True, False),
    "stochastic_rounding": ("auto", True, False),
    "loss": ("auto", "linear", "logits", "whole"),
}


@dataclass(kw_only=True)
class Trainer:
    """A run: its model, its data, its optimizer, how long it lasts, what it saves. Names are those of Hugging Face.

    ``optimizer`` and ``schedule`` are functions: a run gives the first the parameters of the model that it has put in place, and
    the second that optimizer and the number of steps.
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

    output_dir: str | None = None
    overwrite_output_dir: bool = False
    seed: int = 42
    max_steps: int = -1
    num_train_epochs: float = 1.0
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = 1.0
    max_grad_value: float | None = None

    logging_steps: int = 10
    eval_strategy: Strategy = "no"
    eval_steps: int | None = None
    eval_on_start: bool = False
    save_strategy: Strategy = "steps"
    save_steps: int | None = 500
    save_on_start: bool = False
    save_total_limit: int | None = None
    async_save: bool = True
    save_processes: int | None = None
    on_save_error: Literal["fail", "warn"] = "fail"
    resume_from_checkpoint: str | None = None
    hang_seconds: float | None = 600.0
    first_step_seconds: float | None = 3600.0

    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    stochastic_rounding: bool | Literal["auto"] = "auto"
    gradient_checkpointing: bool | int | Literal["full", "selective"] = False
    enable_activation_offloading: bool = False
    fuse_optim_with_backward: bool = False
    torch_compile: bool | Literal["auto"] = "auto"
    loss: Literal["auto", "linear", "logits", "whole"] = "auto"

    def __post_init__(self) -> None:
        for _, what in broken_limits(vars(self)):
            raise ValueError(what)
        self._check_choices()
        self._check_fused()

    def _check_choices(self) -> None:
        for name, what in _PATHS.items():  # empty is what a variable of a shell gives that is not set
            if getattr(self, name) == "":
                raise ValueError(f"{name} is {what}, not an empty text")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices):
                raise ValueError(f"{name} is {', '.join(map(str, choices[:-1]))} or {choices[-1]}, not {value!r}")

    def _check_fused(self) -> None:
        if not self.fuse_optim_with_backward:
            return
        if self.gradient_accumulation_steps > 1:
            raise ValueError(
                "fuse_optim_with_backward frees each gradient at once, so none can be accumulated: "
                "set gradient_accumulation_steps to 1"
            )
        if self.max_grad_norm is not None:
            raise ValueError(
                "fuse_optim_with_backward never has all gradients at once, so their norm is unknown: "
                "set max_grad_norm to null; max_grad_value clips each value"
            )
