"""Norms and gated networks of a model with backward passes that keep less of the forward pass than autograd does.

The forward pass is the model's own to the last bit. What autograd would keep for the backward pass (the normalised vectors, the
activated gate) is computed again there from what has to be kept anyway. So is what they make, where the next matrix would keep it,
or autocast's copy of it (`forge.ml.memory.remaking`). Rotations keep nothing anyway; here they take less time.
"""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from forge.ml.memory.blocks import blocks_or_none, wrap_forward
from forge.ml.memory.remaking import cast_offered, offer, remake_in
from forge.ml.models.rotations import put_rotations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from forge.ml.memory.blocks import Forward

__all__ = ["put_lean"]

_EPSILONS: Final = ("variance_epsilon", "eps")
_LEAN_ALREADY: Final = (nn.LayerNorm, nn.RMSNorm)
_PROBED: Final = 8  # numbers of a vector on which a gated network is compared with what would stand in for it
_NEAR: Final = 1e-4


class _Scale(NamedTuple):
    """How a norm scales: with its weight plus `offset`, before or after it rounds to the type of its input."""

    offset: float
    rounds_first: bool


class _Activation(NamedTuple):
    """What opens a gate, and its backward pass: of the gradient of the result and of what went in."""

    forward: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


_SCALES: Final = (_Scale(0.0, rounds_first=True), _Scale(1.0, rounds_first=False), _Scale(0.0, rounds_first=False))


def _gelu(approximate: str) -> _Activation:
    return _Activation(
        partial(nn.functional.gelu, approximate=approximate),
        partial(torch.ops.aten.gelu_backward, approximate=approximate),
    )


_ACTIVATIONS: Final = (
    _Activation(nn.functional.silu, torch.ops.aten.silu_backward),
    _gelu("none"),
    _gelu("tanh"),
)


def put_lean(model: nn.Module) -> int:
    """Give each norm and gated network of a model that is understood a backward pass that keeps less; how many they are.

    No layer keeps what these make, and rotations by position take fewer passes over memory (`put_rotations`).

    A norm is understood where one of its kind and width, a network where a small one computes the same as what stands in for it: forward to the last bit in float32
    and in bfloat16, backward but for rounding. All others stay as they are, and all do where nothing is trained or torch compiles.
    """
    found: dict[tuple[Any, ...], Forward | None] = {}
    count = 0
    for module in model.modules():
        kind = _kind(module)
        if kind not in found:
            found[kind] = _understood(module)
        own = found[kind]
        if own is not None:
            wrap_forward(module, partial(_in_training, own))
            count += 1
    put_rotations(model)
    if count:
        for block in blocks_or_none(model):
            remake_in(block)
            for module in block.modules():
                if type(module) is nn.Linear:
                    wrap_forward(module, _cast_before)
    return count


def _cast_before(inner: Forward) -> Forward:
    """Autocast would cast what goes into a matrix where nobody sees that it can be made again."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or torch.compiler.is_compiling():
            return inner(self, *args, **kwargs)
        place = args[0].device.type
        if args[0].dtype == torch.float32 and torch.is_autocast_enabled(place):
            return inner(self, cast_offered(args[0], torch.get_autocast_dtype(place)))
        return inner(self, args[0])

    return forward


def _in_training(own: Forward, inner: Forward) -> Forward:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        plain = kwargs or len(args) != 1 or not torch.is_grad_enabled() or torch.compiler.is_compiling()
        return inner(self, *args, **kwargs) if plain else own(self, args[0])

    return forward


def _candidates(module: nn.Module) -> list[Forward]:
    """What might stand in for the forward pass of a module, by what it is made of."""
    if isinstance(module, _LEAN_ALREADY):
        return []
    children = [name for name, _ in module.named_children()]
    weights = dict(module.named_parameters(recurse=False))
    epsilon = next((name for name in _EPSILONS if isinstance(getattr(module, name, None), float)), None)
    if not children and list(weights) == ["weight"] and weights["weight"].ndim == 1 and epsilon is not None:
        return [partial(_normed, epsilon, scale) for scale in _SCALES]
    activation = next((name for name in children if name.startswith("act")), None)
    if {*children} == {"gate_proj", "up_proj", "down_proj", activation}:
        return [partial(_gated, activation) for activation in _ACTIVATIONS]
    if {*children} == {"gate_up_proj", "down_proj", activation}:
        return [partial(_gated_in_one, activation) for activation in _ACTIVATIONS]
    return []


def _kind(module: nn.Module) -> tuple[Any, ...]:
    """What is the same in modules that compute the same: classes, own weights, and settings but for sizes and which layer they are of."""
    settings = {name: value for name, value in vars(module).items() if isinstance(value, (bool, float, str))}
    weights = ((name, weight.shape) for name, weight in module.named_parameters(recurse=False))
    children = ((name, type(child)) for name, child in module.named_children())
    return (type(module), *weights, *children, *sorted(settings.items()))


def _understood(module: nn.Module) -> Forward | None:
    """What computes the same as a module of this kind, if something does."""
    candidates = _candidates(module)
    if not candidates:
        return None
    with torch.random.fork_rng([]), torch.device("cpu"):
        torch.manual_seed(0)
        small = _small(module)
        width = next((len(weight) for weight in small.parameters(recurse=False)), _PROBED)
        vectors = torch.randn(2, 2 * _PROBED, width)
        for own in candidates:
            if all(_same(small.to(kind), own, vectors.to(kind)) for kind in (torch.bfloat16, torch.float32)):
                return own
    return None


def _small(module: nn.Module) -> nn.Module:
    """A module of the same class, settings and own vectors; its matrices are small, for they may be large, or not there yet."""
    sizes: Mapping[str, int] = {"gate_up_proj": 2 * _PROBED}
    small = copy(module)
    vars(small).update(
        # A norm of groups, or of a part, shows itself at its own width only.
        _parameters={
            name: nn.Parameter(torch.randn(own.shape)) for name, own in module.named_parameters(recurse=False)
        },
        _modules={
            name: nn.Linear(_PROBED, sizes.get(name, _PROBED)) if name.endswith("_proj") else child
            for name, child in module.named_children()
        },
    )
    return small


def _same(module: nn.Module, own: Forward, vectors: torch.Tensor) -> bool:
    def outcome(forward: Forward) -> list[torch.Tensor]:
        given = vectors.clone().requires_grad_()
        result = forward(given)
        weights = list(module.parameters())
        return [result, *torch.autograd.grad(result.float().sin().sum(), [given, *weights])]

    try:
        (wanted, *slopes), (found, *own_slopes) = outcome(module), outcome(partial(own, module))
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False  # its forward pass is another one than its parts suggest
    near = all(
        torch.allclose(one.float(), other.float(), rtol=_NEAR, atol=_NEAR)
        for one, other in zip(slopes, own_slopes, strict=True)
    )
    return torch.equal(wanted, found) and (near or vectors.dtype != torch.float32)


def _normed(epsilon: str, scale: _Scale, module: nn.Module, hidden: torch.Tensor) -> Any:
    return _offered(_Norm, hidden, module.weight, getattr(module, epsilon), scale)


def _gated(activation: _Activation, module: Any, hidden: torch.Tensor) -> Any:
    return module.down_proj(_offered(_Gate, module.gate_proj(hidden), module.up_proj(hidden), activation))


def _gated_in_one(activation: _Activation, module: Any, hidden: torch.Tensor) -> Any:
    gate, up = module.gate_up_proj(hidden).chunk(2, dim=-1)
    return module.down_proj(_offered(_Gate, gate, up, activation))


def _offered(operation: type[_Norm | _Gate], *given: Any) -> torch.Tensor:
    """What an operation computes, which whatever takes it need not keep."""
    result: torch.Tensor = operation.apply(*given)  # type: ignore[no-untyped-call]
    if result.grad_fn is not None:
        offer(result, partial(operation.again, result.grad_fn))
    return result


class _Norm(torch.autograd.Function):
    """Vectors over the root of their mean square, scaled; keeps the vectors and one number of each."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, epsilon: float, scale: _Scale) -> torch.Tensor:
        wide = hidden.to(_wide(hidden))
        root = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(hidden, root, weight)
        ctx.scale, ctx.results = scale, {}
        return _scaled(hidden, root, weight, scale)

    @staticmethod
    def again(ctx: Any, kind: torch.dtype) -> torch.Tensor:
        if kind not in ctx.results:  # several matrices ask for it, one after another
            ctx.results[kind] = _scaled(*ctx.saved_tensors, ctx.scale).to(kind)
        found: torch.Tensor = ctx.results[kind]
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[Any, ...]:
        ctx.results.clear()
        hidden, root, weight = ctx.saved_tensors
        normed, slope = hidden.to(root.dtype) * root, slope.to(root.dtype)
        along = slope * normed
        by_weight = along.flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, by_weight, None, None
        scale = weight.to(root.dtype) + ctx.scale.offset
        with torch.autocast(hidden.device.type, enabled=False):
            inner = (along @ scale).unsqueeze(-1).div_(-hidden.shape[-1])
        by_hidden = normed.mul_(inner).addcmul_(slope, scale).mul_(root)
        return by_hidden.to(hidden.dtype), by_weight, None, None


def _scaled(hidden: torch.Tensor, root: torch.Tensor, weight: torch.Tensor, scale: _Scale) -> torch.Tensor:
    normed = hidden.to(root.dtype) * root
    if scale.rounds_first:
        return weight * normed.to(hidden.dtype)
    return (normed * (scale.offset + weight.to(normed.dtype))).to(hidden.dtype)


class _Gate(torch.autograd.Function):
    """An activated gate times what it lets through; keeps the two of them alone."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, activation: _Activation) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation, ctx.opened = activation, None
        return activation.forward(gate) * up

    @staticmethod
    def again(ctx: Any, kind: torch.dtype) -> torch.Tensor:
        gate, up = ctx.saved_tensors
        ctx.opened = ctx.activation.forward(gate)
        found: torch.Tensor = ctx.opened * up
        return found.to(kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[Any, ...]:
        gate, up = ctx.saved_tensors
        activation: _Activation = ctx.activation
        opened = activation.forward(gate) if ctx.opened is None else ctx.opened
        ctx.opened = None
        by_gate = activation.backward(slope * up, gate)
        return by_gate, opened.mul_(slope), None


def _wide(hidden: torch.Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)
