"""What a training step would need in memory, found by running it on tensors that have shapes and no content."""

from __future__ import annotations

import weakref
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface

from forge.ml.loss.head import causal_model
from forge.ml.loss.linear import linear_cross_entropy
from forge.ml.memory.checkpointing import checkpoint_blocks
from forge.ml.memory.fused import FusedBackward
from forge.ml.optim.groups import parameter_groups
from forge.ml.optim.rounding import StochasticRounding, choose_rounding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

__all__ = ["StepMemory", "StepSettings", "make_optimizer", "simulate_step"]

_ATTENTION = "forge_simulated"
_CASTS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What of a run's settings decides how much memory a step needs; the names are the trainer's."""

    batch_size: int = 1
    sequence: int = 1024
    optimizer: Callable[..., Any] = torch.optim.AdamW
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: Any = False
    fuse_optim_with_backward: bool = False
    stochastic_rounding: bool | Literal["auto"] = False
    enable_activation_offloading: bool = False
    loss: str = "auto"

    @property
    def described(self) -> str:
        """In words, for the table."""
        kind = getattr(self.optimizer, "func", self.optimizer).__name__
        casts = "" if self.mixed_precision == "no" else f", {self.mixed_precision} autocast"
        kept = self.gradient_checkpointing
        checkpointed = f", gradient checkpointing {'full' if kept is True else kept}" if kept else ""
        fused = ", optimizer step fused with backward" if self.fuse_optim_with_backward else ""
        return f"{self.batch_size} x {self.sequence} tokens, {kind}{casts}{checkpointed}{fused}"


@dataclass(frozen=True, slots=True)
class StepMemory:
    """Bytes. The first three are what is always there; `activations` are what the forward pass leaves for the backward pass.

    `forward`, `backward` and `step` are the peaks of these phases, everything counted. `problem` says why there are none.
    """

    described: str
    weights: int
    gradients: int
    optimizer: int
    logits: int
    activations: int = 0
    forward: int = 0
    backward: int = 0
    step: int = 0
    notes: tuple[str, ...] = ()
    problem: str | None = None


def simulate_step(model: nn.Module, settings: StepSettings) -> StepMemory:
    """Run a step of a model that is on the meta device. The model is of no other use afterwards.

    What is counted are the tensors that torch makes; libraries below it may take workspaces of their own.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        causal_model(model).tie_weights()
        optimizer = make_optimizer(model, settings)
        memory = StepMemory(
            described=settings.described,
            weights=_size(model.state_dict(keep_vars=True).values()),
            gradients=_gradients(model, settings),
            optimizer=_first_step(model, optimizer),
            logits=settings.batch_size * settings.sequence * model.config.vocab_size * 4,
            notes=_notes(model, settings),
        )
        try:
            with _attention_of_a_kernel(model):
                return _run(model.train(), optimizer, settings, memory)
        except RuntimeError as error:  # what a model does may depend on the content of its tensors
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return replace(
                memory, problem=f"activations and peaks are unknown, this model cannot be simulated: {reason}"
            )


def make_optimizer(model: nn.Module, settings: StepSettings) -> Any:
    """The optimizer of the settings, over the parameters that are trained."""
    groups = parameter_groups(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if choose_rounding(settings.stochastic_rounding, settings.optimizer, trained):
        return StochasticRounding(groups, optimizer=settings.optimizer)
    return settings.optimizer(groups)


def _size(tensors: Any) -> int:
    """The bytes of tensors, what is shared counted once."""
    distinct = {id(tensor): tensor for tensor in tensors}
    return sum(tensor.numel() * tensor.element_size() for tensor in distinct.values())


def _gradients(model: nn.Module, settings: StepSettings) -> int:
    sizes = [
        parameter.numel() * parameter.element_size() for parameter in model.parameters() if parameter.requires_grad
    ]
    return max(sizes) if settings.fuse_optim_with_backward else sum(sizes)


def _first_step(model: nn.Module, optimizer: Any) -> int:
    """Let the optimizer make its state, and return how large that is."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    states = (state for state in optimizer.state.values())
    return _size(tensor for state in states for tensor in tree_leaves(state) if isinstance(tensor, torch.Tensor))


def _notes(model: nn.Module, settings: StepSettings) -> tuple[str, ...]:
    found = []
    if settings.enable_activation_offloading:
        found.append("with enable_activation_offloading, most of the activations are in the memory of the host")
    if getattr(getattr(model, "peft_config", {}).get("default"), "base_weights", None) is not None:
        found.append("base weights are counted as they are read; in four bits they are about a quarter of 16-bit ones")
    return tuple(found)


def _run(model: nn.Module, optimizer: Any, settings: StepSettings, memory: StepMemory) -> StepMemory:
    fused = FusedBackward(optimizer) if settings.fuse_optim_with_backward else None
    checkpoint_blocks(model, settings.gradient_checkpointing)
    with _Watch() as watch:
        watch.count(tree_leaves([list(model.parameters()), list(model.buffers()), list(optimizer.state.values())]))
        before = watch.begin()
        loss = _loss(model, settings)
        activations, forward = watch.live - before, watch.peak
        watch.begin()
        loss.backward()
        backward = watch.peak
        watch.begin()
        if fused is None:
            optimizer.step()
    return replace(memory, activations=activations, forward=forward, backward=backward, step=watch.peak)


def _loss(model: nn.Module, settings: StepSettings) -> Tensor:
    ids = torch.zeros(settings.batch_size, settings.sequence, dtype=torch.long)
    cast = _CASTS.get(settings.mixed_precision)
    with torch.autocast("cpu", dtype=cast) if cast else nullcontext():
        if settings.loss == "logits":
            return model(input_ids=ids, labels=ids, use_cache=False).loss
        known = causal_model(model)
        positions = torch.arange(settings.sequence)[None]
        hidden = known.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        # Every token is trained here, and no model's own scaling of its logits is done: that takes no memory to speak of.
        head = known.get_output_embeddings()
        return linear_cross_entropy(hidden.reshape(-1, hidden.shape[-1]), head.weight, head.bias, ids.reshape(-1))


@contextmanager
def _attention_of_a_kernel(model: nn.Module) -> Iterator[None]:
    """Let attention keep what a fused kernel keeps, and no mask; attention written out stays as it is."""
    config = model.config
    before = config._attn_implementation  # noqa: SLF001 - it has no public name
    if before != "eager" and getattr(causal_model(model).get_decoder(), "position_bias", None) is None:
        AttentionInterface.register(_ATTENTION, _fused_attention)
        config._attn_implementation = _ATTENTION  # noqa: SLF001 - as above
    try:
        yield
    finally:
        config._attn_implementation = before  # noqa: SLF001 - as above


def _fused_attention(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Any, *, scaling: float | None = None, **_: Any
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = (heads.repeat_interleave(groups, dim=1) if groups > 1 else heads for heads in (key, value))
    found = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


class _Watch(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, and the most there were at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def begin(self) -> int:
        """Begin a phase: its peak is what is there already. Returns that."""
        self.peak = self.live
        return self.live

    def count(self, found: list[Any]) -> None:
        """Count the storages of tensors that are new, until nobody holds them any more."""
        for tensor in found:
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage()) not in self._known:
                self._known.add(storage)
                size = storage.nbytes()
                self.live += size
                weakref.finalize(storage, self._gone, size)
        self.peak = max(self.peak, self.live)

    def _gone(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.count(tree_leaves(result))
        return result
