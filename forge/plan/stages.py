"""A model cut into stages of a pipeline, so that the slowest one is as quick as it can be."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.plan.layout import Layout
    from forge.plan.shape import ModelShape

__all__ = ["layer_costs", "layout_stages", "nearest_sizes", "split_layers", "stage_bounds"]


def split_layers(
    layers: int,
    stages: int,
    *,
    first_cost: float = 0.0,
    last_cost: float = 0.0,
    costs: Sequence[float] | None = None,
) -> list[int]:
    """How many layers each of so many stages gets, at least one each, balanced by what they cost.

    `first_cost` is what the first stage does beside its layers (the embedding) and `last_cost` what the last one does (norm,
    head and loss), in units of one layer. `costs` are the layers' own where they differ. Among the ways that are as good,
    the one whose stages are most alike is taken, the longer stages first.
    """
    if not 1 <= stages <= layers:
        raise ValueError(f"{layers} layers cannot be cut into {stages} stages: each needs at least one")
    each = (1.0,) * layers if costs is None else tuple(float(cost) for cost in costs)
    if len(each) != layers:
        raise ValueError(f"there are {len(each)} costs for {layers} layers")
    if min(*each, first_cost, last_cost) < 0:
        raise ValueError("a cost is at least 0")
    return list(_best_cut(each, stages, first_cost, last_cost))


def stage_bounds(sizes: Sequence[int]) -> list[range]:
    """The layers of each stage, by number."""
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def layout_stages(shape: ModelShape, layout: Layout, sequence_length: int) -> list[range]:
    """The layers of each stage of a model's pipeline: those that the layout names, if the model has as many."""
    given = layout.stage_layers
    if given is not None and sum(given) == shape.layers:
        return stage_bounds(given)
    first, last = layer_costs(shape, sequence_length)
    return stage_bounds(split_layers(shape.layers, layout.stages, first_cost=first, last_cost=last))


def nearest_sizes(sizes: Sequence[int], layers: int, stages: int) -> list[int]:
    """The sizes of so many stages that make so many layers, as little changed as can be; ValueError where there are none.

    What is too much is taken from the longest stages, what is missing is given to the shortest.
    """
    if len(sizes) != stages:
        return split_layers(layers, stages)
    if not 1 <= stages <= layers:
        raise ValueError(f"{layers} layers cannot be cut into {stages} stages: each needs at least one")
    found = [max(1, size) for size in sizes]
    while sum(found) != layers:
        more = sum(found) < layers
        found[found.index(min(found) if more else max(found))] += 1 if more else -1
    return found


def layer_costs(shape: ModelShape, sequence_length: int) -> tuple[float, float]:
    """What the embedding and the head cost, in units of one layer: by the multiplications of a token.

    A head as large as many layers makes for a short last stage. Looking up an embedding costs nothing.
    """
    look_back = min(sequence_length, shape.window or sequence_length)
    attention = 2 * look_back / 2 * shape.queries
    inner = shape.experts_per_token * shape.expert_ffn + shape.shared_ffn if shape.experts else shape.ffn
    network = (3 if shape.family.gated else 2) * shape.hidden * inner
    layer = shape.hidden * (2 * shape.queries + 2 * shape.keys) + network + attention
    return 0.0, shape.vocab * shape.hidden / layer


@lru_cache(maxsize=512)
def _best_cut(costs: tuple[float, ...], stages: int, first_cost: float, last_cost: float) -> tuple[int, ...]:
    """The cut whose slowest stage is quickest, and among those the one with the smallest sum of squares."""
    layers = len(costs)
    until = [0.0]
    for cost in costs:
        until.append(until[-1] + cost)
    # best[end] is how well the first `end` layers can be cut into the stages so far: slowest stage, sum of squares, sizes.
    best: dict[int, tuple[float, float, tuple[int, ...]]] = {0: (0.0, 0.0, ())}
    for stage in range(stages):
        extra = (first_cost if stage == 0 else 0.0) + (last_cost if stage == stages - 1 else 0.0)
        left = stages - stage - 1
        ends = range(stage + 1, layers - left + 1) if left else range(layers, layers + 1)
        best = {end: _best_last(best, until, end, extra) for end in ends}
    return best[layers][2]


def _best_last(
    best: dict[int, tuple[float, float, tuple[int, ...]]], until: Sequence[float], end: int, extra: float
) -> tuple[float, float, tuple[int, ...]]:
    """The best cut of the first `end` layers, whose last stage begins where one of the cuts before ends."""
    found = []
    for start, (slowest, squares, sizes) in best.items():
        if start < end:
            cost = until[end] - until[start] + extra
            found.append((round(max(slowest, cost), 9), round(squares + cost * cost, 9), (*sizes, end - start)))
    least = min((slowest, squares) for slowest, squares, _ in found)
    return max(cut for cut in found if cut[:2] == least)
