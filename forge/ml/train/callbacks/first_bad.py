"""Finds where a number that is not finite comes from: a step is repeated with every module watched.

Of several processes none may stop repeating before the others, which would wait for it: each goes through the whole forward pass of
the step, and then they tell one another what they have seen first. The gradients are there already.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from forge.ml.parallel.pieces import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from forge.ml.data.batch import Batch
    from forge.ml.parallel.world import World

__all__ = ["Fault", "first_bad", "first_bad_of_all"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first number that is not finite: in a weight, a module's output, the loss itself, or a gradient.

    `batch` is the place of the batch in its step; `largest_input` the largest number that went into the module. `rank` is the process
    that has seen it first, where there are several.
    """

    kind: Literal["weight", "output", "loss", "gradient", "unknown"]
    module: str = ""
    type: str = ""
    batch: int | None = None
    largest_input: float | None = None
    rank: int | None = None

    def __str__(self) -> str:
        where = "" if self.rank is None else f"on rank {self.rank} "
        return where + self._text

    @property
    def _text(self) -> str:
        named = f"{self.module} ({self.type})" if self.module else ""
        return {
            "weight": f"the weight {named} was not finite before the step",
            "output": f"the output of {named} is the first that is not finite",
            "loss": "the outputs of all modules are finite, the loss computed from them is not",
            "gradient": f"the loss is finite, and the gradient of {named} is the first that is not",
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


def first_bad_of_all(model: torch.nn.Module, world: World, forward: Callable[[], float]) -> Fault:
    """Where several processes see it first; all of them have to ask.

    `forward` runs all batches of the step through the model, in every process, and gives the loss of all. The gradients are those that
    the weights have.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    weights = _bad((name, local(weight)) for name, weight in model.named_parameters())
    seen: list[tuple[int, Fault]] = []
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"), _noted(model, world, seen):
        loss = forward()
    gradients = _bad((name, local(one.grad)) for name, one in model.named_parameters() if one.grad is not None)
    # In a pipeline the first stages come first, whatever their processes see before or after others.
    mine = [[fault.batch or 0, world.place("pp"), order, asdict(fault)] for order, fault in seen[:1]]
    told = world.exchange({"weights": weights[:1], "seen": mine, "gradients": gradients[-1:]})

    def first(name: str) -> Fault | None:
        found = [(rank, one[name][0]) for rank, one in enumerate(told) if one[name]]
        return Fault(name[:-1], *found[0][1], rank=found[0][0]) if found else None  # type: ignore[arg-type]

    outputs = [(*one["seen"][0][:3], rank, one["seen"][0][3]) for rank, one in enumerate(told) if one["seen"]]
    output = replace(Fault(**min(outputs)[4]), rank=min(outputs)[3]) if outputs else None
    wrong = None if math.isfinite(loss) else Fault("loss")
    return first("weights") or output or wrong or first("gradients") or Fault("unknown")


@contextlib.contextmanager
def _noted(model: torch.nn.Module, world: World, seen: list[tuple[int, Fault]]) -> Iterator[None]:
    """Note which modules of this process give what is not finite, in their order; what stands in for others is passed over."""
    calls = [0, -1]

    def begins(*_: Any) -> None:
        calls[1] += 1

    def note(name: str, module: torch.nn.Module, inputs: Any, kwargs: Any, output: Any) -> None:
        calls[0] += 1
        if not seen and not all(map(_finite, _tensors(output))):
            batch = calls[1] if world.layout.pp == 1 else None
            seen.append((calls[0], Fault("output", name, type(module).__name__, batch, _largest((inputs, kwargs)))))

    handles: list[Any] = [model.register_forward_pre_hook(begins)]
    for name, module in model.named_modules():
        if "instead_of" not in module.__dict__:
            found = partial(note, name or "the model")
            handles.append(module.register_forward_hook(found, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _bad(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[tuple[str]]:
    return [(name,) for name, tensor in tensors if not _finite(tensor)]


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
