"""The norm of all gradients of a model, wherever their pieces are."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from forge.ml.parallel.pieces import is_spread, local

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.ml.parallel.world import World

__all__ = ["norm_over", "spread_over", "total_norm"]


def total_norm(gradients: Sequence[torch.Tensor], world: World | None = None) -> torch.Tensor:
    """The norm of the gradients as if they were one vector; each process gets it, and what is there twice counts once.

    Squares are added up in float64, so that the norm is the same to the last digit in whatever order that is done: it scales all
    gradients, and a last digit of it would be one of every weight.
    """
    if world is None or world.alone:
        return _squares(gradients).sqrt().to(torch.float32)
    squares = _squares([]).to(world.device)
    for spread, group in _by_spread(gradients).items():
        part = _squares([local(gradient) for gradient in group]).to(world.device)
        for process_group in spread:
            dist.all_reduce(part, group=process_group)
        squares += part
    if world.layout.pp > 1 and world.mesh is not None:
        dist.all_reduce(squares, group=world.mesh.get_group("pp"))
    return squares.sqrt().to(torch.float32)


def _squares(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum of the squares of all numbers; it does not wait for the device."""
    held = [gradient for gradient in gradients if gradient.numel()]
    if not held:
        return torch.zeros((), dtype=torch.float64)
    kind = reduce(torch.promote_types, {gradient.dtype for gradient in held}, torch.float32)
    norms: Any = torch._foreach_norm(held, 2, dtype=kind)  # noqa: SLF001 - what torch's own function for it calls
    return torch.stack([norm.to(held[0].device) for norm in norms]).double().square().sum()


def _by_spread(gradients: Sequence[torch.Tensor]) -> dict[tuple[Any, ...], list[torch.Tensor]]:
    """The gradients by the groups of processes that have other pieces of them; in the same order in each process."""
    found: dict[tuple[Any, ...], list[torch.Tensor]] = {}
    for gradient in gradients:
        # What two stages of a pipeline share has the same gradient in both.
        if not getattr(gradient, "counted_elsewhere", False):
            found.setdefault(spread_over(gradient), []).append(gradient)
    return found


def norm_over(norms: Mapping[tuple[Any, ...], torch.Tensor]) -> torch.Tensor:
    """The norm of gradients of which each process has the norms of its pieces, by the groups of those that have others."""
    total = torch.zeros(())
    for spread, norm in norms.items():
        part = norm
        if spread:
            part = norm.square()
            for process_group in spread:
                dist.all_reduce(part, group=process_group)
            part = part.sqrt()
        total = torch.hypot(total.to(part.device), part)
    return total


def spread_over(gradient: Any) -> tuple[Any, ...]:
    """The groups of processes that have other pieces of a gradient; none where each has all of it."""
    if not is_spread(gradient):
        return ()
    mesh = gradient.device_mesh
    return tuple(
        mesh.get_group(number) for number, placement in enumerate(gradient.placements) if not placement.is_replicate()
    )
