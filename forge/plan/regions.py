"""What the regions of a layer, attention and network, have to tell the processes that share their matrices.

In bytes of a token that are gathered, or summed into pieces; a sum that all have afterwards is both. Sums are of the type that is computed
in, and gradients of what came into a region of that of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from forge.plan.setup import TrainingSetup

__all__ = ["RegionTalk", "layer_regions"]


class RegionTalk(NamedTuple):
    """Forward: on the way to the last matrix, and behind it; and all of the backward pass."""

    before: float
    behind: float
    backward: float


def layer_regions(setup: TrainingSetup, layer: int) -> tuple[RegionTalk, RegionTalk]:
    """The attention and the network of a layer."""
    shape, family = setup.shape, setup.shape.family
    joined = family.fused and family.gated  # one matrix of which no process can take a part of the answer by itself
    attention, network = _divided(setup), _divided(setup)
    if joined or family.qk_norm == "whole":
        attention = _made_whole(setup, shape.queries + 2 * shape.keys, shape.queries, matrices=1 if joined else 3)
    if shape.experts and layer >= shape.dense_layers:
        network = _experts(setup)
    elif joined:
        network = _made_whole(setup, 2 * shape.ffn, shape.ffn)
    return attention, network


def _divided(setup: TrainingSetup) -> RegionTalk:
    """All that comes in goes to matrices cut by columns, and what goes out is the sum of one cut by rows.

    With `sequence_parallel` it is gathered first, in the type computed in, and summed into pieces.
    """
    computed, weights = _sizes(setup)
    if setup.layout.sequence_parallel:
        return RegionTalk(computed, computed, weights + computed)
    return RegionTalk(0.0, 2 * computed, 2 * weights)


def _made_whole(setup: TrainingSetup, made: int, taken: int, matrices: int = 1) -> RegionTalk:
    """What the first matrices have made is gathered, and of what goes into the last one each process takes its part.

    Each of the first matrices has its own gradient of what came in summed.
    """
    computed, weights = _sizes(setup)
    pieces = _pieces(setup)
    before = pieces * weights + made * setup.compute_size
    backward = 2 * matrices * weights + taken * setup.compute_size + pieces * computed
    return RegionTalk(before, 2 * computed, backward)


def _experts(setup: TrainingSetup) -> RegionTalk:
    """Experts are given whole rows and weights by which their answers are added, in the type of the weights, and both are trained."""
    _, weights = _sizes(setup)
    pieces = _pieces(setup)
    routed = 2.0 * setup.compute_size * setup.shape.experts_per_token
    return RegionTalk(pieces * weights, 2 * weights, (2 + pieces) * weights + routed)


def _pieces(setup: TrainingSetup) -> int:
    """1 where rows are in pieces around a region."""
    return 1 if setup.layout.sequence_parallel else 0


def _sizes(setup: TrainingSetup) -> tuple[float, float]:
    """The bytes of a token's hidden states, as they are computed and as weights are stored."""
    return float(setup.compute_size * setup.shape.hidden), float(setup.weight_size * setup.shape.hidden)
