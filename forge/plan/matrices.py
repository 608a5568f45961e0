"""The weights of a process: how many numbers of the model it holds, as whole matrices and as its shares of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    heads, keys = shape.queries // tp, shape.keys // tp
    into = (
        [(heads + 2 * keys, shape.hidden)]
        if shape.family.fused
        else [(heads, shape.hidden), *[(keys, shape.hidden)] * 2]
    )
    found: list[Matrix] = [(rows, columns, 1, True) for rows, columns in [*into, (shape.hidden, heads)]]
    found += _networks(shape, layer, tp)
    norms = shape.family.norms * shape.norm_parameters
    found.append((1, norms + _small(shape, layer, tp), 1, True))
    return found


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
    rank = setup.adapter_rank or 0
    found: list[Matrix] = []
    for rows, columns, count, _ in layer_matrices(setup, layer):
        if rows > 1:
            found += [(rank, columns, count, True), (rows, rank, count, True)]
    return found


def _networks(shape: ModelShape, layer: int, tp: int) -> Iterator[Matrix]:
    gates = 2 if shape.family.gated else 1
    if not shape.experts or layer < shape.dense_layers:
        together = shape.family.fused and gates > 1
        yield (
            (gates * shape.ffn // tp, shape.hidden, 1, True)
            if together
            else (shape.ffn // tp, shape.hidden, gates, True)
        )
        yield (shape.hidden, shape.ffn // tp, 1, True)
        return
    # The experts of a layer are stored as two tensors.
    yield (shape.experts * gates * shape.expert_ffn // tp, shape.hidden, 1, True)
    yield (shape.experts * shape.hidden, shape.expert_ffn // tp, 1, True)
    yield (shape.experts, shape.hidden, 1, True)
    if shape.shared_ffn:
        yield (shape.shared_ffn // tp, shape.hidden, gates, True)
        yield (shape.hidden, shape.shared_ffn // tp, 1, True)


def _small(shape: ModelShape, layer: int, tp: int) -> int:
    """Biases, and norms of queries and keys."""
    matrices = shape.hidden * (shape.queries + 2 * shape.keys) + shape.queries * shape.hidden
    found = shape.attention_parameters - matrices
    if shape.mlp_bias and not (shape.experts and layer >= shape.dense_layers):
        found += shape.ffn * (2 if shape.family.gated else 1) // tp + shape.hidden
    return found
