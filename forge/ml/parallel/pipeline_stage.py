"""One stage of a pipeline as torch's schedules run it; every microbatch has a shape of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.pipelining.stage import _PipelineStageBase

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch import nn

__all__ = ["StageRunner"]

_FORWARD, _BACKWARD = 0, 1


class StageRunner(_PipelineStageBase):
    """Receives hidden states, computes, sends them on; and the same with their gradients, the other way.

    ``compute`` runs the stage on a microbatch, by its number and what was received; ``blank`` makes room for what is received.
    With ``whole`` the two halves of a backward pass are made at once, whatever the schedule says.
    """

    def __init__(
        self,
        modules: nn.Module,
        number: int,
        count: int,
        device: torch.device,
        group: Any,
        *,
        compute: Callable[[int, torch.Tensor | None], torch.Tensor],
        blank: Callable[[int], torch.Tensor],
        backward: Callable[[], AbstractContextManager[Any]],
        whole: bool,
    ) -> None:
        super().__init__(modules, number, count, device, group, dw_builder=_nothing_left if whole else None)
        self._compute, self._blank, self._backward = compute, blank, backward
        self._stage_meta.inputs = () if self.is_first else (None,)
        self.args_recv_info = {0: ()}
        self._arrived: dict[int, torch.Tensor] = {}
        self._gradients: dict[int, torch.Tensor | None] = {}

    # What torch asks for before the first step: nothing has to be known beforehand.

    def _prepare_forward_infra(self, num_microbatches: int, *_: Any, **__: Any) -> None:
        self.chunks = num_microbatches

    def _prepare_backward_infra(self, num_microbatches: int, *_: Any, **__: Any) -> None:
        self.chunks = num_microbatches

    def _create_grad_recv_info(self, act_send_info: dict[int, Any]) -> tuple[Any, ...]:  # noqa: ARG002 - torch's
        return ()

    def _get_init_p2p_neighbors_ops(self) -> list[dist.P2POp]:
        if self.device.type == "cpu":
            return []
        operations = super()._get_init_p2p_neighbors_ops()
        return [each for each in operations if each.peer != dist.get_rank()]

    # What is sent and received.

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """Receive what the stage before has made of a microbatch."""
        if self.is_first:
            return []
        self._arrived[fwd_chunk_id] = self._blank(fwd_chunk_id)
        return [self._with(dist.irecv, self._arrived[fwd_chunk_id], -1, _FORWARD, fwd_chunk_id)]

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """Send what this stage has made of a microbatch."""
        if self.is_last:
            return []
        (made,), _ = self.fwd_cache[fwd_chunk_id]
        return [self._with(dist.isend, self._checked(made, fwd_chunk_id), 1, _FORWARD, fwd_chunk_id)]

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """Receive the gradients of what this stage has sent."""
        if self.is_last or not self.has_backward:
            return []
        self._gradients[bwd_chunk_id] = received = self._blank(bwd_chunk_id)
        return [self._with(dist.irecv, received, 1, _BACKWARD, bwd_chunk_id)]

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """Send the gradients of what this stage has received."""
        if self.is_first or not self.has_backward:
            return []
        (gradient,) = self.bwd_cache.pop(bwd_chunk_id)
        gradient = torch.zeros_like(self._blank(bwd_chunk_id)) if gradient is None else gradient.contiguous()
        return [self._with(dist.isend, gradient, -1, _BACKWARD, bwd_chunk_id)]

    def set_local_fwd_input(self, prev_stage_outputs: torch.Tensor, mb_index: int) -> None:
        """Take what a stage of the same process has made."""
        self._arrived[mb_index] = prev_stage_outputs.detach()

    def set_local_bwd_input(self, next_stage_bwd_outputs: tuple[torch.Tensor | None, ...], mb_index: int) -> None:
        """Take the gradients that a stage of the same process has made."""
        (self._gradients[mb_index],) = next_stage_bwd_outputs

    # What is computed.

    def forward_one_chunk(
        self,
        fwd_chunk_id: int,
        args: tuple[Any, ...] = (),  # noqa: ARG002 - torch's
        kwargs: dict[str, Any] | None = None,  # noqa: ARG002 - torch's
        save_forward_output: bool = False,  # noqa: ARG002, FBT001, FBT002 - torch's
    ) -> torch.Tensor:
        """Run the stage on a microbatch."""
        received = None if self.is_first else self._arrived.pop(fwd_chunk_id)
        if received is not None and self.has_backward and torch.is_grad_enabled():
            received.requires_grad_()
        made = self._compute(fwd_chunk_id, received)
        if self.dw_builder is None and made._is_view():  # noqa: SLF001 - no public name
            made = (
                made.clone()
            )  # torch lets go of the graph in place where it makes the two halves, and not of a view's
        self.fwd_cache[fwd_chunk_id] = ((made,), [] if received is None else [received])
        return made

    def backward_one_chunk(self, *args: Any, **kwargs: Any) -> None:
        """Compute gradients of a microbatch: all of them, or first those of what was received."""
        with self._backward():
            super().backward_one_chunk(*args, **kwargs)

    def backward_weight_one_chunk(self, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients of weights that were left for later."""
        with self._backward():
            super().backward_weight_one_chunk(*args, **kwargs)

    def perform_reduce_grad(self, grad_scale_factor: int) -> None:
        """Left to the end of a step: the stages of a process share what has to be summed."""

    def reduce(self, model: nn.Module) -> None:
        """Sum the gradients of a model over the processes that share it, at the end of a step."""
        own, self.submod = self.submod, model
        super().perform_reduce_grad(1)
        self.submod = own

    def forget(self) -> None:
        """Let go of what a forward pass without a backward pass has left."""
        self.fwd_cache.clear()

    def _retrieve_recv_grads(self, bwd_chunk_id: int) -> tuple[torch.Tensor | None, ...]:
        return (self._gradients.pop(bwd_chunk_id),)

    def _checked(self, made: torch.Tensor, number: int) -> torch.Tensor:
        expected = self._blank(number)
        if (made.shape, made.dtype) != (expected.shape, expected.dtype):
            raise ModelError(
                f"stage {self.stage_index} of the pipeline makes hidden states of {tuple(made.shape)} in {made.dtype}, "
                f"and the next one expects {tuple(expected.shape)} in {expected.dtype}",
                hint="train this model with a layout without pp",
            )
        return made.detach().contiguous()

    def _with(self, what: Any, tensor: torch.Tensor, step: int, way: int, number: int) -> dist.P2POp:
        """An exchange with the stage before or after; its mark keeps messages of the same two processes apart."""
        peer = self._resolve_peer_global_rank(self.stage_index + step)
        edge = min(self.stage_index, self.stage_index + step)
        mark = ((number * self.num_stages) + edge) * 2 + way
        return dist.P2POp(what, tensor, peer, self.group, tag=mark)


def _nothing_left() -> Callable[[], None]:
    return lambda: None
