"""What goes between the processes of a run in one step, by dimension of the mesh and by the kind of line it takes."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from forge.plan.activations import checkpointed_layers, layer_input_bytes
from forge.plan.matrices import embedding_matrices, layer_matrices, numbers

if TYPE_CHECKING:
    from forge.plan.setup import TrainingSetup

__all__ = ["Link", "SentBytes", "links", "traffic"]

Link = Literal["inside a node", "between nodes"]

_EXCHANGES: Final = 4  # of each attention, one way
_INNER_FIRST: Final = ("tp", "cp", "dp_shard", "dp_replicate", "pp")


class SentBytes(NamedTuple):
    """What one process sends in one step along a dimension: for what, how many bytes, in how many messages, over which line."""

    dimension: str
    what: str
    size: float
    messages: int
    link: Link


def links(setup: TrainingSetup, per_node: int) -> dict[str, Link]:
    """The line that each dimension of the mesh takes: neighbours in the inner ones sit in one node."""
    found: dict[str, Link] = {}
    reach = 1
    for name in _INNER_FIRST:
        reach *= getattr(setup.layout, name)
        found[name] = "inside a node" if reach <= per_node else "between nodes"
    return found


def traffic(setup: TrainingSetup, per_node: int) -> list[SentBytes]:
    """What the process that holds most of the model sends in one step, ring algorithms assumed."""
    over = links(setup, per_node)
    found = [
        *_shares(setup, over["dp_shard"]),
        *_copies(setup, over["dp_replicate"]),
        *_tensor(setup, over["tp"]),
        *_context(setup, over["cp"]),
        *_pipeline(setup, over["pp"]),
    ]
    return [one for one in found if one.size]


def _held(setup: TrainingSetup) -> tuple[int, int]:
    """Numbers of weights of the process with the most layers, and how many layers those are."""
    stages = setup.stages
    most: tuple[int, int] = (0, 0)
    for place in range(setup.layout.pp):
        own = setup.stages_of(place)
        layers = [layer for stage in own for layer in stages[stage]]
        count = sum(numbers(layer_matrices(setup, layer)) for layer in layers)
        count += numbers(embedding_matrices(setup, first=0 in own, last=len(stages) - 1 in own))
        most = max(most, (count, len(layers)))
    return most


def _trained(setup: TrainingSetup, held: int) -> float:
    """The bytes of gradients: of an adapter about its rank in its width."""
    if setup.adapter_rank is None:
        return held * setup.weight_size
    return held * 4 * min(1.0, 2 * setup.adapter_rank / setup.shape.hidden)


def _shares(setup: TrainingSetup, link: Link) -> list[SentBytes]:
    layout = setup.layout
    share = _sharing(setup)
    if share == 1:
        return []
    held, layers = _held(setup)
    part = (share - 1) / share
    gathers = setup.passes * (2 if layout.shards_weights and layout.reshard_after_forward else 1)
    # A pipeline sums its gradients after the last microbatch, the first stage after the last batch.
    sums = setup.passes if layout.pp == 1 and layout.shards_gradients else 1
    weights, gradients = held * setup.weight_size * part, _trained(setup, held) * part
    return [
        SentBytes("dp_shard", "weights, gathered layer by layer", weights * gathers, layers * gathers, link),
        SentBytes("dp_shard", "gradients, summed into shares", gradients * sums, layers * sums, link),
    ]


def _sharing(setup: TrainingSetup) -> int:
    """How many share one copy: pieces of a sequence do so as well."""
    return setup.layout.dp_shard * setup.layout.cp if setup.layout.shards_state else 1


def _copies(setup: TrainingSetup, link: Link) -> list[SentBytes]:
    layout, share = setup.layout, _sharing(setup)
    copies = layout.dp_replicate * layout.dp_shard * layout.cp // share
    held, layers = _held(setup)
    size = _trained(setup, held) / share
    return [SentBytes("dp_replicate", "gradients, summed", 2 * size * (copies - 1) / copies, layers, link)]


def _tensor(setup: TrainingSetup, link: Link) -> list[SentBytes]:
    tp = setup.layout.tp
    if tp == 1:
        return []
    _, layers = _held(setup)
    again = sum(checkpointed_layers(setup)) / setup.shape.layers
    each = setup.tokens * setup.shape.hidden * setup.compute_size
    times = layers * setup.passes * (4 + 2 * again)
    return [
        SentBytes("tp", "hidden states, twice a layer and pass", 2 * each * (tp - 1) / tp * times, round(times), link)
    ]


def _context(setup: TrainingSetup, link: Link) -> list[SentBytes]:
    layout, shape = setup.layout, setup.shape
    if layout.cp == 1:
        return []
    _, layers = _held(setup)
    # Whoever has fewer heads of keys and values than there are pieces sends each of them several times.
    copies = layout.cp // gcd(max(1, shape.kv_heads // layout.tp), layout.cp)
    widths = 2 * shape.queries + 2 * shape.keys * copies  # queries and answers, keys and values
    each = setup.tokens * widths / layout.tp * setup.compute_size * (layout.cp - 1) / layout.cp
    times = layers * setup.passes * (2 + sum(checkpointed_layers(setup)) / shape.layers)
    return [SentBytes("cp", "queries, keys, values and answers", each * times, round(_EXCHANGES * times), link)]


def _pipeline(setup: TrainingSetup, link: Link) -> list[SentBytes]:
    if setup.layout.pp == 1:
        return []
    times = 2 * setup.passes * setup.layout.stages_per_rank
    return [SentBytes("pp", "hidden states and their gradients", layer_input_bytes(setup) * times, times, link)]
