"""Finds where a number that is not finite comes from: a step is repeated with every module watched."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.ml.data.batch import Batch

__all__ = ["Fault", "first_bad"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first number that is not finite: in a weight, a module's output, the loss itself, or a gradient.

    `batch` is the place of the batch in its step; `largest_input` the largest number that went into the module.
    """

    kind: Literal["weight", "output", "loss", "gradient", "unknown", "apart"]
    module: str = ""
    type: str = ""
    batch: int | None = None
    largest_input: float | None = None

    def __str__(self) -> str:
        named = f"{self.module} ({self.type})" if self.module else ""
        return {
            "weight": f"the weight {named} was not finite before the step",
            "output": f"the output of {named} is the first that is not finite",
            "loss": "the outputs of all modules are finite, the loss computed from them is not",
            "gradient": f"the loss is finite, and the gradient of {named} is the first that is not",
            "apart": "on several processes the step is not repeated to find the module (parallel=single does)",
            "unknown": "the step did not show it again when it was repeated",
        }[self.kind]


def first_bad(
    model: torch.nn.Module, batches: Sequence[Batch], total: Callable[[Batch], torch.Tensor], scale: float
) -> Fault:
    """Repeat a step, batch by batch, until something is not finite.

    `total` runs the model on a batch and gives the sum of its losses, which `scale` turns into what the gradients are of. Neither
    weights, nor gradients, nor the state of the random numbers are changed.
    """
    weight = next((name for name, weight in model.named_parameters() if not _finite(weight)), None)
    if weight is not None:
        return Fault("weight", weight, type(_owner(model, weight)).__name__)
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        for number, batch in enumerate(batches):
            if batch.trained:
                fault = _in_batch(model, number, lambda batch=batch: total(batch) * scale)
                if fault is not None:
                    return fault
    return Fault("unknown")


def _in_batch(model: torch.nn.Module, number: int, run: Callable[[], torch.Tensor]) -> Fault | None:
    faults: list[Fault] = []
    with _watched(model, number, faults):
        loss = run()
        if faults:
            return faults[0]
        if not _finite(loss):
            return Fault("loss", batch=number)
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        # Asked for apart from those that the weights have already.
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    if faults:
        return faults[0]
    # A module without an input that has a gradient, an embedding say, is known by its weight alone.
    pairs = zip(trained, gradients, strict=True)
    bad = [name for name, gradient in pairs if gradient is not None and not _finite(gradient)]
    return Fault("gradient", bad[-1], type(_owner(model, bad[-1])).__name__, number) if bad else None


@contextlib.contextmanager
def _watched(model: torch.nn.Module, number: int, faults: list[Fault]) -> Iterator[None]:
    """Look at what comes out of every module, forward and backward; inner modules are asked before outer ones."""

    def forward(name: str, module: torch.nn.Module, inputs: Any, kwargs: Any, output: Any) -> None:
        if not faults and not all(map(_finite, _tensors(output))):
            faults.append(Fault("output", name, type(module).__name__, number, _largest((inputs, kwargs))))

    def backward(name: str, module: torch.nn.Module, found: Any, given: Any) -> None:
        if not faults and all(map(_finite, _tensors(given))) and not all(map(_finite, _tensors(found))):
            faults.append(Fault("gradient", name, type(module).__name__, number, _largest(given)))

    handles: list[Any] = []
    for path, module in model.named_modules():
        name = path.replace("._orig_mod", "").removeprefix("_orig_mod.") or "the model"
        handles.append(module.register_forward_hook(lambda *given, name=name: forward(name, *given), with_kwargs=True))
        handles.append(module.register_full_backward_hook(lambda *given, name=name: backward(name, *given)))
    try:
        with warnings.catch_warnings():
            # Where torch cannot see a module's gradients: an embedding, a module that gives a dict. Those inside it are seen.
            warnings.filterwarnings("ignore", "Full backward hook is firing|For backward hooks to be called")
            yield
    finally:
        for handle in handles:
            handle.remove()


def _owner(model: torch.nn.Module, parameter: str) -> torch.nn.Module:
    return model.get_submodule(parameter.rpartition(".")[0])


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of floating point in a value, at any depth."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())


def _largest(value: Any) -> float | None:
    found = [float(tensor.detach().abs().max()) for tensor in _tensors(value) if tensor.numel()]
    return max(found, default=None)
