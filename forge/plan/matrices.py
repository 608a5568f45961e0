"""The weights of a process: how many numbers of the model it holds, as whole matrices and as its shares of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.plan.reach import reaches_experts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.plan.optimizer_state import Matrix
    from forge.plan.setup import TrainingSetup
    from forge.plan.shape import ModelShape

__all__ = ["adapter_matrices", "embedding_matrices", "layer_matrices", "numbers"]


def numbers(matrices: list[Matrix]) -> int:
    """How many numbers matrices have together."""
    return sum(rows * columns * count for rows, columns, count, _ in matrices)


def layer_matrices(setup: TrainingSetup, layer: int) -> list[Matrix]:
    """What one process of a tensor-parallel group holds of a layer: its part of each matrix, and every norm whole."""
    shape, tp = setup.shape, setup.layout.tp
    norms = shape.family.norms * shape.norm_parameters
    experts = _experts(shape, tp) if _has_experts(shape, layer) else []
    return [*_linear_matrices(setup, layer), *experts, (1, norms + _small(shape, layer, tp), 1, True)]


def embedding_matrices(setup: TrainingSetup, *, first: bool, last: bool) -> list[Matrix]:
    """What is before the first layer and behind the last one, of a process that has these ends of the model."""
    shape = setup.shape
    rows = shape.vocab // setup.layout.tp
    found: list[Matrix] = []
    if first:
        found.append((rows, shape.hidden, 1, False))
        if shape.family.learned_positions:
            found.append((shape.positions or 0, shape.hidden, 1, False))
    if last:
        found.append((1, shape.norm_parameters, 1, True))
        if not shape.tied or not first:
            found.append((rows, shape.hidden, 1, False))
    return found


def adapter_matrices(setup: TrainingSetup, layer: int) -> list[Matrix]:
    """The two thin matrices beside each matrix of a layer, divided where that is."""
    rank, shape = setup.adapter_rank or 0, setup.shape
    found: list[Matrix] = []
    for rows, columns, count, _ in _linear_matrices(setup, layer):
        found += [(rank, columns, count, True), (rows, rank, count, True)]
    if _has_experts(shape, layer) and reaches_experts(setup.choices, shape):
        found += _adapters_of_experts(shape, rank)
    return found


def _adapters_of_experts(shape: ModelShape, rank: int) -> Iterator[Matrix]:
    """Two matrices for each expert, those of all experts as one; what are two matrices in one tensor has two ranks."""
    gates = 2 if shape.family.gated else 1
    for rows, columns, ranks in (
        (gates * shape.expert_ffn, shape.hidden, gates * rank),
        (shape.hidden, shape.expert_ffn, rank),
    ):
        yield (shape.experts * ranks, columns, 1, True)
        yield (rows, shape.experts * ranks, 1, True)
    yield (rank, shape.hidden, 1, True)
    yield (shape.experts, rank, 1, True)


def _linear_matrices(setup: TrainingSetup, layer: int) -> Iterator[Matrix]:
    """The matrices that belong to linear layers, beside which an adapter is put."""
    shape, tp = setup.shape, setup.layout.tp
    heads, keys = shape.queries // tp, shape.keys // tp
    if shape.family.fused:
        yield (heads + 2 * keys, shape.hidden, 1, True)
    else:
        yield (heads, shape.hidden, 1, True)
        yield (keys, shape.hidden, 2, True)
    yield (shape.hidden, heads, 1, True)
    if not _has_experts(shape, layer):
        yield from _network(shape, shape.ffn // tp)
    elif shape.shared_ffn:
        yield from _network(shape, shape.shared_ffn // tp)
        yield (1, shape.hidden, 1, True)


def _network(shape: ModelShape, width: int) -> Iterator[Matrix]:
    gates = 2 if shape.family.gated else 1
    if shape.family.fused:
        yield (gates * width, shape.hidden, 1, True)
    else:
        yield (width, shape.hidden, gates, True)
    yield (shape.hidden, width, 1, True)


def _has_experts(shape: ModelShape, layer: int) -> bool:
    return shape.experts > 0 and layer >= shape.dense_layers


def _experts(shape: ModelShape, tp: int) -> list[Matrix]:
    """The experts of a layer, which are stored as two tensors, and what chooses among them."""
    gates = 2 if shape.family.gated else 1
    return [
        (shape.experts * gates * shape.expert_ffn // tp, shape.hidden, 1, True),
        (shape.experts * shape.hidden, shape.expert_ffn // tp, 1, True),
        (shape.experts, shape.hidden, 1, True),
    ]


def _small(shape: ModelShape, layer: int, tp: int) -> int:
    """Biases, and norms of queries and keys."""
    matrices = shape.hidden * (shape.queries + 2 * shape.keys) + shape.queries * shape.hidden
    found = shape.attention_parameters - matrices
    if shape.mlp_bias and not _has_experts(shape, layer):
        found += shape.ffn * (2 if shape.family.gated else 1) // tp + shape.hidden
    return found
