"""Rotations of queries and keys by their positions with fewer passes over memory than a model's own code takes.

The forward pass is the model's own to the last bit; nothing is turned half around and put together again for it, nor for the
backward pass.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.autograd.function import once_differentiable

from forge.ml.memory.blocks import wrap_forward

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from forge.ml.memory.blocks import Forward

    Rotate = Callable[..., Any]

__all__ = ["put_rotations"]

_NAME: Final = "apply_rotary_pos_emb"
"""What `transformers` calls the function that rotates queries and keys, in the code of each model."""


def put_rotations(model: nn.Module) -> int:
    """Let each attention whose rotations are understood rotate in fewer passes; how many they are.

    They are understood where random vectors come out as they do by the model's own function, to the last bit.
    """
    found: dict[int, dict[str, Any] | None] = {}
    count = 0
    for module in model.modules():
        forward = getattr(module.forward, "__func__", None)
        names = getattr(forward, "__globals__", {})
        if _NAME not in names or _NAME not in forward.__code__.co_names:
            continue
        if id(names) not in found:
            own = names[_NAME]
            rotate = _understood(own)
            found[id(names)] = None if rotate is None else {**names, _NAME: rotate}
        changed = found[id(names)]
        if changed is not None:
            wrap_forward(module, _naming(changed))
            count += 1
    return count


def _naming(names: dict[str, Any]) -> Callable[[Forward], Forward]:
    """The same code, in which these names mean something else; those of the model's module stay for all others."""

    def around(inner: Any) -> Forward:
        renamed = FunctionType(inner.__code__, names, inner.__name__, inner.__defaults__, inner.__closure__)
        renamed.__kwdefaults__ = inner.__kwdefaults__

        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            # torch compiles functions among the names of their own modules only.
            return (inner if torch.compiler.is_compiling() else renamed)(self, *args, **kwargs)

        return forward

    return around


def _rotating(inner: Rotate, *, rounds: bool) -> Rotate:
    def rotate(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != len(("query", "key", "cos", "sin")):
            return inner(*args, **kwargs)
        query, key, cos, sin = args
        partly = not query.shape[-1] == key.shape[-1] == cos.shape[-1]
        if partly or cos.requires_grad or not torch.is_grad_enabled():
            return inner(query, key, cos, sin)
        turns = cos.unsqueeze(1), sin.unsqueeze(1)
        turned = (_Rotation.apply(each, *turns) for each in (query, key))  # type: ignore[no-untyped-call]
        return tuple(each.to(query.dtype) if rounds else each for each in turned)

    return rotate


def _understood(inner: Rotate) -> Rotate | None:
    """What gives the same as a model's function, where something does; some functions round to the type of what they turn."""
    drawn = torch.Generator().manual_seed(0)
    heads = [torch.randn(2, count, 5, 8, generator=drawn) for count in (4, 2)]
    turns = [torch.randn(2, 5, 8, generator=drawn) for _ in ("cos", "sin")]
    # A model in bfloat16 may keep its angles in float32.
    kinds = ((torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32))
    given = [[*(each.to(kind) for each in heads), *(each.to(angle) for each in turns)] for kind, angle in kinds]
    for rounds in (False, True):
        rotate = _rotating(inner, rounds=rounds)
        if all(_same(inner, rotate, each) for each in given):
            return rotate
    return None


def _same(inner: Rotate, rotate: Rotate, given: list[torch.Tensor]) -> bool:
    try:
        both = list(zip(inner(*given), rotate(*given), strict=True))
        return all(wanted.dtype == found.dtype and torch.equal(wanted, found) for wanted, found in both)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False  # it takes or gives something else


class _Rotation(torch.autograd.Function):
    """Pairs of numbers, half a vector apart, turned by the angle of their place."""

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.kind = heads.dtype
        half = heads.shape[-1] // 2
        turned = heads * cos
        turned[..., :half] -= heads[..., half:] * sin[..., :half]
        turned[..., half:] += heads[..., :half] * sin[..., half:]
        return turned

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[Any, ...]:
        cos, sin = (turn.to(slope.dtype) for turn in ctx.saved_tensors)
        half = slope.shape[-1] // 2
        back = slope * cos
        back[..., :half].addcmul_(slope[..., half:], sin[..., half:])
        back[..., half:].addcmul_(slope[..., :half], sin[..., :half], value=-1)
        return back.to(ctx.kind), None, None
