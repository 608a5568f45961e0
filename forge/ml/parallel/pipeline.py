"""Training and evaluating over the stages of a pipeline: the batches of a step go through it as its microbatches."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import schedules

from forge.base.errors import RunError
from forge.ml.data.batch import IGNORED, Batch
from forge.ml.models.attention import attention_inputs
from forge.ml.parallel.pieces import local
from forge.ml.parallel.pipeline_stage import StageRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from torch import nn

    from forge.ml.loss import CausalLoss
    from forge.ml.parallel.pipeline_cut import Cut
    from forge.ml.parallel.world import World

__all__ = ["Pipeline"]


class _Unpaired(schedules.ScheduleDualPipeV):
    """DualPipeV in which a forward pass that meets a backward pass is sent on before that begins.

    torch makes such a pair one after the other, too, and sends what came of the first only when the second is done: whoever needs it
    waits for a backward pass.
    """

    def _calculate_single_rank_operations(self, rank: int) -> list[Any]:
        planned = super()._calculate_single_rank_operations(rank)
        return [each for action in planned for each in (getattr(action, "sub_actions", None) or (action,))]


_SCHEDULES: Final = {
    "gpipe": schedules.ScheduleGPipe,
    "1f1b": schedules.Schedule1F1B,
    "interleaved_1f1b": schedules.ScheduleInterleaved1F1B,
    "looped_bfs": schedules.ScheduleLoopedBFS,
    "interleaved_zero_bubble": schedules.ScheduleInterleavedZeroBubble,
    "zbv": schedules.ScheduleZBVZeroBubble,
    "dualpipev": _Unpaired,
}


class Pipeline:
    """The loss of a model whose layers are in several processes.

    ``microbatches`` are those of one step. With ``whole`` a backward pass is never made in two halves: where layers are computed
    again, or their weights are in pieces, the halves would cost more than they fill.
    """

    def __init__(self, loss: CausalLoss, cut: Cut, world: World, *, microbatches: int, whole: bool) -> None:
        self.loss, self.model, self.world = loss, loss.model, world
        self.microbatches = microbatches
        self.order = cut.order
        self._cut = cut
        self._batches: list[Batch] = []
        self._trained = 1
        self._total = torch.zeros((), device=world.device)
        self._answer: Callable[[Batch], torch.Tensor] | None = None  # in the place of the loss
        self._forward: Any = nullcontext
        self._backward: Any = nullcontext
        self._dtype = next(parameter for parameter in cut.own_layers()[0].parameters()).dtype
        self._stages = [self._stage(number, whole=whole) for number in cut.own]
        self._schedule = self._made_schedule()
        if isinstance(self.model, FSDPModule):
            # Its parts find each other when the first of them is used, and in a stage not all of them are in their places.
            self.model._get_fsdp_state()._lazy_init()  # noqa: SLF001 - no public name

    def learn(
        self,
        batches: Sequence[Batch],
        trained: int,
        forward: Callable[[], AbstractContextManager[Any]],
        backward: Callable[[], AbstractContextManager[Any]],
    ) -> torch.Tensor:
        """Add the gradients of the mean over ``trained`` tokens; the sum of the losses is returned where the last stage is, else 0.

        ``forward`` and ``backward`` are what the computations of each kind run in.
        """
        self._begin([*batches, *(_blank(batches[-1]) for _ in range(self.microbatches - len(batches)))])
        self._trained, self._forward, self._backward = trained, forward, backward
        self._let_gradients_wait()
        self._schedule.step(target=torch.arange(self.microbatches), return_outputs=False)
        self._stages[0].reduce(self.model)
        self._add_shared()
        self._batches = []
        return self._total

    def evaluate(self, batches: Sequence[Batch], forward: Callable[[], AbstractContextManager[Any]]) -> torch.Tensor:
        """The sum of the losses of batches where the last stage is, else 0: each stage takes all of them, one after another."""
        self._forward = forward
        self._let_through(batches)
        return self._total

    def next_token(self, row: torch.Tensor, place: int, choose: Callable[[torch.Tensor], torch.Tensor]) -> int:
        """What ``choose`` makes, where the last stage is, of the logits at a place of a row; all processes are told."""
        ids = row.new_full(row.shape, IGNORED), torch.arange(row.shape[1], device=row.device)[None]
        chosen = row.new_zeros(1)

        def answer(batch: Batch) -> torch.Tensor:
            logits = self.model(input_ids=batch.input_ids, use_cache=False).logits
            chosen.copy_(choose(logits[0, place].float()))
            return logits

        self._answer, self._forward = answer, nullcontext
        try:
            with torch.no_grad():
                self._let_through([Batch(row, *ids, None, tokens=0, trained=0, ids=())])
        finally:
            self._answer = None
        group, layout = self.world.mesh.get_group("pp"), self.world.layout
        last = next(one for one in range(layout.pp) if self._cut.count - 1 in layout.stages_of(one))
        dist.broadcast(chosen, dist.get_global_rank(group, last), group=group)
        return int(chosen)

    def _let_through(self, batches: Sequence[Batch]) -> None:
        self._begin(batches)
        sent: list[Any] = []
        for stage in self._stages:
            stage.has_backward = False
            neighbour = next((each for each in self._stages if each.stage_index == stage.stage_index + 1), None)
            for number in range(len(batches)):
                self._pass_on(stage, number, neighbour, sent)
        for work in sent:
            work.wait()
        for stage in self._stages:
            stage.forget()
        self._batches = []

    def _pass_on(self, stage: StageRunner, number: int, neighbour: StageRunner | None, sent: list[Any]) -> None:
        if not any(each.stage_index == stage.stage_index - 1 for each in self._stages):
            for work in _started(stage.get_fwd_recv_ops(number)):
                work.wait()
        made = stage.forward_one_chunk(number)
        if neighbour is not None:
            neighbour.set_local_fwd_input(made, number)
        else:
            sent += _started(stage.get_fwd_send_ops(number))

    def _begin(self, batches: Sequence[Batch]) -> None:
        self._batches = [self.loss.rounded(batch).to(self.world.device) for batch in batches]
        self._total = torch.zeros((), device=self.world.device)

    def _stage(self, number: int, *, whole: bool) -> StageRunner:
        return StageRunner(
            self._cut.modules(number),
            number,
            self._cut.count,
            self.world.device,
            self.world.mesh.get_group("pp"),
            compute=lambda batch, received: self._compute(number, batch, received),
            blank=self._room,
            backward=self._in_backward,
            whole=whole,
        )

    def _made_schedule(self) -> Any:
        layout = self.world.layout
        several = layout.stages_per_rank > 1
        try:
            return _SCHEDULES[layout.pp_schedule](
                self._stages if several else self._stages[0],
                self.microbatches,
                loss_fn=lambda mean, _: mean,
                scale_grads=False,
            )
        except ValueError as error:
            raise RunError(
                f"{layout.pp_schedule} cannot run {self.microbatches} microbatches a step: {error}",
                hint="set parallel.microbatches to a multiple of parallel.pp",
            ) from error

    def _compute(self, number: int, microbatch: int, received: torch.Tensor | None) -> torch.Tensor:
        batch = self._batches[microbatch]
        if number == self._cut.count - 1:
            return self._mean(batch, number, received)
        with self._forward(), self._cut.passing(number, received):
            inputs = attention_inputs(batch, self.loss.head.model.config._attn_implementation)  # noqa: SLF001 - where transformers keeps it
            with self._cut.up_to_the_head():
                return self.model(input_ids=batch.input_ids, **inputs)

    def _mean(self, batch: Batch, number: int, received: torch.Tensor | None) -> torch.Tensor:
        """What a batch adds to the mean loss.

        The head's gradients are made at once, as most losses do anyway, and added up, so that no microbatch keeps its own. What is
        left for later are those of the layers, and what these begin with can be asked for twice, once for each half. Where weights
        are in pieces a backward pass is that of the whole stage, which gathers them.
        """
        apart = torch.is_grad_enabled() and not isinstance(self.model, FSDPModule)
        with self._forward(), self._cut.passing(number, received):
            if self._answer is not None:
                return self._answer(batch)
            with _seam(self.loss.head.module) if apart else nullcontext(()) as sides:
                total = self.loss.total(batch)
            self._total += total.detach()
            mean = total / self._trained
        if not sides:
            return mean
        hidden, leaf = sides
        with self._backward():
            mean.backward()
        return _Known.apply(hidden, mean.detach(), leaf.grad)

    def _in_backward(self) -> AbstractContextManager[Any]:
        return self._backward()

    def _room(self, microbatch: int) -> torch.Tensor:
        rows, tokens = self._batches[microbatch].input_ids.shape
        layout = self.world.layout
        pieces = layout.tp if layout.sequence_parallel else 1
        shape = (rows, tokens // pieces, self._cut.anatomy.width)
        return torch.empty(shape, dtype=self._dtype, device=self.world.device)

    def _let_gradients_wait(self) -> None:
        """Until the end of the step, as weights that are not divided: for all its microbatches they are the same."""
        if isinstance(self.model, FSDPModule):
            self.model.set_is_last_backward(False)
            self.model.set_requires_gradient_sync(False)
            self.model.set_reshard_after_backward(self.world.layout.shards_weights)

    def _add_shared(self) -> None:
        """Weights that the first and the last stage share learn from both, and stay the same."""
        group = self.world.mesh.get_group("pp")
        last = self._cut.has_last
        # In a pipeline that is not folded the last stage is in the last process.
        other = dist.get_global_rank(group, 0 if last else self.world.layout.pp - 1)
        for parameter in self._cut.shared():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            own = local(parameter.grad)
            theirs = torch.empty_like(own, memory_format=torch.contiguous_format)
            work = dist.batch_isend_irecv(
                [dist.P2POp(dist.isend, own.contiguous(), other, group), dist.P2POp(dist.irecv, theirs, other, group)]
            )
            for each in work:
                each.wait()
            own.add_(theirs)
            # It counts once in the norm of all gradients.
            parameter.grad.counted_elsewhere = last


def _started(operations: list[dist.P2POp]) -> list[Any]:
    return [each.op(each.tensor, each.peer, each.group, each.tag) for each in operations]


@contextmanager
def _seam(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, what first comes to a module begins a graph of its own: both sides of the seam, once it was called."""
    sides: list[torch.Tensor] = []

    def cut(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if sides:  # a loss that has the model make its logits calls it again
            return given
        sides[:] = given[0], given[0].detach().requires_grad_()
        return (sides[1], *given[1:])

    hook = module.register_forward_pre_hook(cut)
    try:
        yield sides
    finally:
        hook.remove()


class _Known(torch.autograd.Function):
    """A loss of which it is known what hidden states change it by."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, loss: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 - in the graph
        ctx.save_for_backward(gradient)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None


def _blank(batch: Batch) -> Batch:
    """A batch of which nothing is learned, where a step has too few."""
    return replace(batch, targets=torch.full_like(batch.targets, IGNORED), tokens=0, trained=0, ids=())
