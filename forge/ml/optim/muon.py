"""Muon for the matrices inside a model, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim import AdamW, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Muon"]


class Muon(Optimizer):
    """Muon for hidden matrices; AdamW for embeddings, the output head and vectors, which Muon is not made for.

    It takes parameters with their names, and gives AdamW each one that is no matrix or whose name holds a word of `adamw_names`.
    By default updates are scaled to the size of AdamW's, so that both work at one learning rate.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]] | Iterable[tuple[str, torch.Tensor]],
        lr: float = 3.0e-4,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1.0e-8,
        adamw_names: Sequence[str] = ("embed", "lm_head", "wte", "wpe"),
    ) -> None:
        matrices, others = _divided(list(params), tuple(adamw_names))
        self._parts: dict[str, Optimizer] = {}
        if matrices:
            self._parts["muon"] = torch.optim.Muon(
                matrices,
                lr=lr,
                weight_decay=weight_decay,
                momentum=momentum,
                nesterov=nesterov,
                ns_steps=ns_steps,
                adjust_lr_fn=adjust_lr_fn,
            )
        if others:
            self._parts["adamw"] = AdamW(
                others, lr=lr, weight_decay=weight_decay, betas=tuple(adamw_betas), eps=adamw_eps
            )
        groups = [{**group, "part": name} for name, part in self._parts.items() for group in part.param_groups]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for name, part in self._parts.items():
            # The groups and the state live here alone, so that a scheduler or a restored state reaches both parts.
            part.param_groups = [group for group in self.param_groups if group["part"] == name]
            part.state = self.state
            part.step()
        return loss


def _divided(params: list[Any], adamw_names: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The groups of Muon and the groups of AdamW."""
    groups = params if params and isinstance(params[0], dict) else [{"params": params}]
    matrices, others = [], []
    for group in groups:
        named = list(group["params"])
        if not all(isinstance(pair, tuple) for pair in named):
            raise TypeError(
                "Muon tells matrices from embeddings by name: give it named parameters, as model.named_parameters()"
            )
        for_muon = [pair for pair in named if _is_hidden_matrix(*pair, adamw_names)]
        for_adamw = [pair for pair in named if not _is_hidden_matrix(*pair, adamw_names)]
        matrices += [{**group, "params": for_muon}] if for_muon else []
        others += [{**group, "params": for_adamw}] if for_adamw else []
    return matrices, others


def _is_hidden_matrix(name: str, parameter: torch.Tensor, adamw_names: tuple[str, ...]) -> bool:
    return parameter.ndim == 2 and not any(word in name for word in adamw_names)  # noqa: PLR2004 - a matrix has two dimensions
