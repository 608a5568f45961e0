"""The memory of each process of a run by its parts, and the most that is in use at a time.

Everything here is counted, nothing is measured. What a GPU's own context takes, and what an allocator cannot use for being in
pieces, comes on top.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forge.plan.activations import (
    checkpointed_layers,
    layer_again_bytes,
    layer_bytes,
    layer_input_bytes,
    layer_work_bytes,
    tail_bytes,
)
from forge.plan.matrices import adapter_matrices, embedding_matrices, layer_matrices, numbers
from forge.plan.pipeline import held_passes, in_flight

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.optimizer_state import Matrix
    from forge.plan.setup import TrainingSetup

__all__ = ["RankMemory", "pipeline_memory", "rank_memory"]

_CHUNK: Final = 128 << 20
_PART: Final = {"cpu": 4 << 20, "cuda": 256 << 20}
_FULL: Final = 4
_OFFLOADED_LEAST: Final = 1 << 20
_AHEAD: Final = 5
_NF4: Final = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class RankMemory:
    """Bytes of one process. `forward`, `backward` and `step` are the peaks of these phases, everything counted.

    `logits` is what the loss works with, `gathered` are weights of others that lie here for a while, and `host` is what
    is kept in the memory of the host instead.
    """

    place: int
    layers: tuple[int, ...]
    parameters: int
    trained: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    gathered: float
    forward: float
    backward: float
    step: float
    host: float = 0.0

    @property
    def peak(self) -> float:
        """The most that is in use at a time."""
        return max(self.forward, self.backward, self.step)


def pipeline_memory(setup: TrainingSetup) -> list[RankMemory]:
    """The memory of a process at each place of the pipeline; all others are like one of these."""
    return [rank_memory(setup, place) for place in range(setup.layout.pp)]


def rank_memory(setup: TrainingSetup, place: int) -> RankMemory:
    """The memory of a process at one place of the pipeline."""
    return _Rank(setup, place).memory()


class _Rank:
    """The arithmetic of one process."""

    def __init__(self, setup: TrainingSetup, place: int) -> None:
        self.setup = setup
        self.place = place
        stages = setup.stages
        self.numbers = setup.layout.stages_of(place)
        self.layers = [layer for stage in self.numbers for layer in stages[stage]]
        self.first = 0 in self.numbers
        self.last = len(stages) - 1 in self.numbers
        self.ends = embedding_matrices(setup, first=self.first, last=self.last)
        self.kinds = Counter(map(self.stand_in, self.layers))
        self.held = self.repeated(layer_matrices)
        self.trains_all = setup.adapter_rank is None
        adapters = [] if self.trains_all else self.repeated(adapter_matrices)
        self.adapters = adapters
        self.trained: list[Matrix] = [*self.ends, *self.held] if self.trains_all else adapters
        self.trained_size = setup.weight_size if self.trains_all else _FULL
        # Pieces of a sequence share weights as those do that read data of their own.
        self.share = setup.layout.dp_shard * setup.layout.cp if setup.layout.shards_state else 1
        self.piped = setup.layout.pp > 1
        # The data-parallel parts of a pipeline are torch's FSDP2, with one piece where nothing is divided.
        self.sharing = setup.layout.dp_shard * setup.layout.dp_replicate * setup.layout.cp > 1

    def stand_in(self, layer: int) -> int:
        """A layer that is like this one: all with experts are alike, and all without."""
        return min(layer, self.setup.shape.dense_layers) if self.setup.shape.experts else 0

    def repeated(self, matrices: Callable[[TrainingSetup, int], list[Matrix]]) -> list[Matrix]:
        """The matrices of all layers, those that are alike together."""
        return [
            (rows, columns, each * count, inside)
            for layer, count in self.kinds.items()
            for rows, columns, each, inside in matrices(self.setup, layer)
        ]

    def memory(self) -> RankMemory:
        setup = self.setup
        weights, gradients, optimizer = self.weights(), self.gradients(), self.optimizer()
        gathered = self.gathered()
        activations = self.activations()
        logits = self.logits()
        host = 0.0
        on_device = weights + optimizer
        if setup.layout.cpu_offload:
            host, on_device = weights + optimizer + gradients, 0.0
        if setup.offload and setup.device == "cuda":
            kept = min(activations, _AHEAD * 2 * layer_input_bytes(setup) + self.tail())
            host, activations = host + activations - kept, kept
        stays = self.gradients_stay()
        waiting = self.waiting(activations, gradients if stays and not setup.layout.cpu_offload else 0.0)
        base = on_device + gathered
        return RankMemory(
            place=self.place,
            layers=tuple(self.layers),
            parameters=numbers([*self.ends, *self.held, *self.adapters]),
            trained=numbers(self.trained),
            weights=weights,
            gradients=gradients,
            optimizer=optimizer,
            activations=activations,
            logits=logits,
            gathered=gathered,
            forward=base + waiting + self.casts() + logits,
            backward=base + self.backward(waiting, gradients, stays=stays),
            step=on_device + self.step(gradients),
            host=host,
        )

    def weights(self) -> float:
        size = self.setup.weight_size
        inside = numbers(self.held) * (_NF4 if self.setup.four_bits else size)
        found = inside + numbers(self.ends) * size + numbers(self.adapters) * _FULL
        return found / self.share

    def gradients(self) -> float:
        if self.setup.fused:
            # Where weights are in pieces the gradients of a layer come together.
            layer = max((numbers(layer_matrices(self.setup, one)) for one in self.kinds), default=0)
            return max(self.largest(), layer if self.share > 1 and self.trains_all else 0.0) * self.trained_size
        found = float(numbers(self.trained) * self.trained_size)
        # They are divided when they are summed: in a pipeline after the last microbatch, with the first stage after the last batch.
        layout = self.setup.layout
        summed_late = self.piped or (self.setup.passes > 1 and not layout.shards_gradients)
        return found if summed_late else found / self.share

    def optimizer(self) -> float:
        return self.setup.optimizer.state_bytes(self.trained, self.trained_size) / self.share

    def largest(self) -> float:
        return float(max((rows * columns for rows, columns, _, _ in self.trained), default=0))

    def gradients_stay(self) -> bool:
        """Whether gradients are there already while a forward pass runs: those of an earlier one, or buckets of DDP."""
        setup = self.setup
        copies = self.sharing and not setup.layout.shards_state
        return not setup.fused and (setup.passes > 1 or copies)

    def gathered(self) -> float:
        """Whole layers beside shares: two at a time, the one that computes and the one that comes next; or all of them."""
        setup = self.setup
        if self.share == 1:
            return 0.0
        sizes = {layer: numbers(layer_matrices(setup, layer)) * setup.gathered_size(layer) for layer in self.kinds}
        ends = numbers(self.ends) * setup.weight_size
        if not (setup.layout.shards_weights and setup.layout.reshard_after_forward):
            return float(sum(sizes[layer] * count for layer, count in self.kinds.items()) + ends)
        return float(2 * max(sizes.values(), default=0) + ends)

    def activations(self) -> float:
        """What all forward passes have left that are under way at a time, when that is most."""
        counts = in_flight(self.setup.whole_step)[self.place]
        return sum(count * self.kept(stage) for stage, count in zip(self.numbers, counts, strict=True))

    def kept(self, stage: int) -> float:
        """What the forward pass of a stage has left of one microbatch."""
        setup = self.setup
        marks = checkpointed_layers(setup)
        alike = Counter((self.stand_in(layer), marks[layer]) for layer in setup.stages[stage])
        found = sum(times * layer_bytes(setup, layer, checkpointed=mark) for (layer, mark), times in alike.items())
        if self.piped:
            found += layer_input_bytes(setup)  # what it hands on stays until its gradient comes
        if stage == len(setup.stages) - 1:
            found += self.tail()
            if self.piped and self.sharing:
                found += self.head_gradient()  # where weights are in pieces each microbatch keeps its own
        return found

    def waiting(self, activations: float, gradients: float) -> float:
        """Activations, and gradients of earlier passes beside them, when that is most."""
        if not self.piped:
            return activations + gradients
        kept = [self.kept(stage) for stage in self.numbers]
        own = [self.stage_gradients(stage) for stage in self.numbers] if gradients else [0.0] * len(kept)
        head = (
            0.0 if self.sharing or not gradients else self.head_gradient()
        )  # those of the head come with the first forward pass
        found = (
            sum(count * size for count, size in zip(held.microbatches, kept, strict=True))
            + sum(size for graded, size in zip(held.gradients, own, strict=True) if graded)
            for held in held_passes(self.setup.whole_step)[self.place]
        )
        return max(found) + head

    def stage_gradients(self, stage: int) -> float:
        """The gradients of a stage, but for those of a head that are there earlier."""
        setup = self.setup
        last = stage == len(setup.stages) - 1
        matrices = layer_matrices if self.trains_all else adapter_matrices
        found = sum(numbers(matrices(setup, layer)) for layer in setup.stages[stage])
        if self.trains_all:
            found += numbers(embedding_matrices(setup, first=stage == 0, last=last))
        return found * self.trained_size - (self.head_gradient() if last and not self.sharing else 0.0)

    def tail(self) -> float:
        return tail_bytes(self.setup) if self.last else 0.0

    def head_gradient(self) -> float:
        """The loss makes the gradient of the head on the way forward."""
        if not self.last or not self.trains_all or self.setup.whole_logits:
            return 0.0
        return self.head() * self.setup.weight_size

    def head(self) -> float:
        """The numbers of the head that the loss works with: its own rows, or all of them where the loss is not divided."""
        return self.setup.shape.vocab * self.setup.shape.hidden / self.loss_pieces()

    def loss_pieces(self) -> int:
        layout = self.setup.layout
        return layout.tp if layout.loss_parallel else 1

    def logits(self) -> float:
        """What the loss works with, without the gradient of the head."""
        if not self.last:
            return 0.0
        setup = self.setup
        size = setup.compute_size
        whole = setup.tokens * setup.shape.vocab / self.loss_pieces()
        if setup.whole_logits:
            return whole * (_FULL * 2 + size)
        chunks = whole * size / _CHUNK
        part = min(_PART[setup.device], whole * _FULL) * (1 if size == _FULL else 2)
        found = min(whole * size, _CHUNK) + part
        if not (self.piped and self.sharing):  # there it is counted with each microbatch
            found += self.head_gradient()
        if chunks > 1 and size != _FULL and self.trains_all:
            found += self.head() * (_FULL - setup.weight_size + size)  # summed in float32, a chunk's beside it
        if setup.cast:
            found += self.head() * size
        if setup.layout.tp > self.loss_pieces():
            found += self.head() * setup.weight_size  # all rows, of which each process has some
        return found

    def casts(self) -> float:
        """Autocast keeps each weight that it cast until the forward pass is over, and the backward pass needs it too.

        A compiled layer casts its own, and casts them again.
        """
        setup = self.setup
        if setup.compiled or not setup.cast:
            return 0.0
        stored = [
            numbers(layer_matrices(setup, layer)) * count
            for layer, count in self.kinds.items()
            if self.share == 1 or not setup.gathers_cast(layer)
        ]
        return float(sum(stored) * setup.compute_size)

    def backward(self, waiting: float, gradients: float, *, stays: bool) -> float:
        """The most beside weights and state while gradients come and activations go, layer by layer from the end."""
        setup = self.setup
        marks = checkpointed_layers(setup)
        # A whole computation of a layer that was checkpointed is there while its gradients are made.
        kinds = {(self.stand_in(layer), marks[layer]) for layer in self.layers}
        work = {
            (layer, mark): layer_work_bytes(setup, layer) + (layer_again_bytes(setup, layer) if mark else 0.0)
            for layer, mark in kinds
        }
        works = [work[self.stand_in(layer), marks[layer]] for layer in self.layers]
        at_start = waiting + self.casts() + max(works[-1:], default=0.0)
        if self.piped:
            added = self.largest() * self.trained_size  # beside what it is added to
            return max(at_start + added, gradients + max(works, default=0.0) + self.ends_gradients())
        at_start += self.head_gradient()
        if setup.whole_logits and self.last:
            at_start += self.logits()
        if setup.fused:
            return max(
                at_start,
                max(works, default=0.0) + self.head_gradient(),
                self.ends_gradients() + self.head_gradient(),
                self.updates(),
            )
        if stays:
            largest = self.largest() * self.trained_size
            ends = self.ends_gradients() + self.head_gradient()
            return max(at_start + largest, gradients + max(works, default=0.0) + ends)
        return max(at_start, gradients + max(works[:1], default=0.0), gradients + self.ends_gradients())

    def updates(self) -> float:
        """An optimizer inside the backward pass changes its largest matrix when nothing else is left."""
        step = self.setup.optimizer.step_bytes(self.largest(), rounding=self.setup.rounding)
        return self.largest() * self.trained_size + step

    def ends_gradients(self) -> float:
        """A tied matrix gets two gradients, and their sum is a third."""
        if not (self.trains_all and self.first and self.last and self.setup.shape.tied):
            return 0.0
        return 2 * self.head() * self.setup.weight_size

    def step(self, gradients: float) -> float:
        setup = self.setup
        if setup.fused or setup.layout.cpu_offload:
            return 0.0
        # In a pipeline they have been divided by then.
        left = gradients / self.share if self.piped else gradients
        return left + setup.optimizer.step_bytes(self.largest() / self.share, rounding=setup.rounding)
